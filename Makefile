# SPDX-License-Identifier: MIT
# One file, no recursion. `make help` lists the targets.
VERSION    := 0.1.0
SOVERSION  := 0
MODE       ?= release
PYTHON     ?= /usr/bin/python3

prefix     ?= /usr/local
bindir     ?= $(prefix)/bin
sbindir    ?= $(prefix)/sbin
libdir     ?= $(prefix)/lib
includedir ?= $(prefix)/include
mandir     ?= $(prefix)/share/man
sysconfdir ?= /etc
DESTDIR    ?=

B := build/$(MODE)
O := $(B)/obj

# ---- flags -------------------------------------------------------------------------------------------------------------

PKGS         := libconfig libsystemd jemalloc libxxhash
PKG_CFLAGS   := $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
BASE_CFLAGS  := -std=gnu17 -g -fPIC -fvisibility=hidden -Wall -Wextra -Wformat=2 -Wshadow -Wstrict-prototypes \
                -Wmissing-prototypes -Wvla -Wno-unused-parameter -pthread
CPPFLAGS     += -D_GNU_SOURCE -DOBJM_VERSION='"$(VERSION)"' -Ilib -I. $(PKG_CFLAGS)
HARDEN       := -D_FORTIFY_SOURCE=3 -fstack-protector-strong -fstack-clash-protection -fcf-protection \
                -ftrivial-auto-var-init=zero
HARDEN_LD    := -Wl,-z,relro,-z,now,-z,noexecstack,--as-needed
# clang 14 knows the zero initialiser only behind a second flag and has no _FORTIFY_SOURCE=3 of its own
ifneq (,$(findstring clang,$(CC)))
HARDEN       := $(filter-out -ftrivial-auto-var-init=zero -D_FORTIFY_SOURCE=3,$(HARDEN)) -D_FORTIFY_SOURCE=2
endif
SANITIZE     :=

ifeq ($(MODE),release)
  MODE_CFLAGS := -O2 $(HARDEN)
else ifeq ($(MODE),debug)
  MODE_CFLAGS := -O0
else ifeq ($(MODE),asan)
  SANITIZE    := -fsanitize=address,undefined -fno-sanitize-recover=all
  MODE_CFLAGS := -O1 -fno-omit-frame-pointer -ftrivial-auto-var-init=pattern
else ifeq ($(MODE),tsan)
  SANITIZE    := -fsanitize=thread
  MODE_CFLAGS := -O1 -fno-omit-frame-pointer
else ifeq ($(MODE),cov)
  SANITIZE    := --coverage
  MODE_CFLAGS := -O0 -fprofile-update=atomic -DOBJM_COVERAGE
else ifeq ($(MODE),hash)
  MODE_CFLAGS := -O2 $(HARDEN) -DOBJM_HASH_CONSTANT
else ifeq ($(MODE),fuzz)
  CC          := clang
  SANITIZE    := -fsanitize=address,undefined -fno-sanitize-recover=all
  MODE_CFLAGS := -O1 -fno-omit-frame-pointer -fsanitize=fuzzer-no-link
else
  $(error MODE is one of release debug asan tsan cov hash fuzz)
endif
ifdef CI
  BASE_CFLAGS += -Werror
endif
ALL_CFLAGS   = $(BASE_CFLAGS) $(MODE_CFLAGS) $(SANITIZE) $(CFLAGS)
ALL_LDFLAGS  = -pthread $(HARDEN_LD) $(SANITIZE) $(LDFLAGS)

LIBS_STORAGE := $(shell pkg-config --libs libxxhash 2>/dev/null)
LIBS_DAEMON  := $(LIBS_STORAGE) $(shell pkg-config --libs libconfig libsystemd 2>/dev/null)
# The sanitizers bring an allocator of their own
ifeq (,$(filter asan tsan fuzz,$(MODE)))
LIBS_MALLOC  := $(shell pkg-config --libs jemalloc 2>/dev/null)
endif

# ---- sources -----------------------------------------------------------------------------------------------------------

objs          = $(patsubst %.c,$(O)/%.o,$(sort $(wildcard $(1))))
# One file of lib/ knows of the constant, and tests do: the other objects are those of the release.
ifeq ($(MODE),hash)
RELEASED     := build/release/obj
objs          = $(patsubst %.c,$(RELEASED)/%.o,$(filter-out lib/base/hash.c,$(sort $(wildcard $(1))))) \
                $(patsubst %.c,$(O)/%.o,$(filter lib/base/hash.c,$(wildcard $(1))))
$(RELEASED)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(filter-out -DOBJM_HASH_CONSTANT,$(ALL_CFLAGS)) $(CPPFLAGS) -MMD -MP -c -o $@ $<
endif
LAYERS       := base protocol concurrency transport storage
LIB_OBJS     := $(call objs,$(LAYERS:%=lib/%/*.c))
CLIENT_OBJS  := $(call objs,lib/client/*.c lib/base/*.c lib/protocol/*.c lib/transport/*.c lib/concurrency/ring.c)
DAEMON_OBJS  := $(call objs,objmapperd/*.c)
CLI_OBJS     := $(call objs,objmap/*.c)
UNIT_TESTS   := $(patsubst tests/unit/%.c,$(B)/tests/unit/%,$(sort $(wildcard tests/unit/*_test.c)))
FUZZ_TARGETS := $(patsubst tests/fuzz/%.c,$(B)/fuzz/%,$(sort $(wildcard tests/fuzz/fuzz_*.c)))
BENCHES      := $(patsubst tests/bench/%.c,$(B)/bench/%,$(sort $(wildcard tests/bench/*.c)))

# ZeroMQ is only there to be measured against
ifeq (,$(shell pkg-config --libs libzmq 2>/dev/null))
BENCHES      := $(filter-out %/ping_zmq,$(BENCHES))
endif
$(B)/bench/ping_zmq: LDLIBS = $(shell pkg-config --libs libzmq 2>/dev/null)

all: $(B)/objmapperd $(B)/objmap $(B)/libobjmapper.so.$(SOVERSION) $(B)/libobjmapper.a

# Built from every layer, objmapperd/ without main() and the parts of objmap that only reckon: what unit tests and fuzz
# targets link.
$(B)/libtest.a: $(LIB_OBJS) $(filter-out %/main.o,$(DAEMON_OBJS)) $(call objs,lib/client/*.c objmap/interval.c objmap/samples.c objmap/table.c)
	@rm -f $@
	$(AR) qcs $@ $^

$(B)/objmapperd: $(DAEMON_OBJS) $(LIB_OBJS)
	$(CC) -pie $(ALL_LDFLAGS) -o $@ $^ $(LIBS_DAEMON) $(LIBS_MALLOC)

$(B)/libobjmapper.so.$(SOVERSION): $(CLIENT_OBJS) lib/client/libobjmapper.map
	$(CC) -shared -Wl,-soname,libobjmapper.so.$(SOVERSION) -Wl,--version-script=lib/client/libobjmapper.map \
		$(ALL_LDFLAGS) -o $@ $(CLIENT_OBJS)

# One relocatable object whose internal names are made local, so that nothing but objmapper_* can clash.
$(B)/libobjmapper.a: $(CLIENT_OBJS)
	@rm -f $@
	$(LD) -r -o $(O)/libobjmapper.o $^
	objcopy --wildcard --keep-global-symbol='objmapper_*' $(O)/libobjmapper.o
	$(AR) rcs $@ $(O)/libobjmapper.o

$(B)/objmap: $(CLI_OBJS) $(call objs,lib/base/*.c) $(B)/libobjmapper.a
	$(CC) -pie $(ALL_LDFLAGS) -o $@ $(CLI_OBJS) $(call objs,lib/base/*.c) $(B)/libobjmapper.a

$(O)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(CPPFLAGS) -MMD -MP -c -o $@ $<

$(B)/tests/unit/%: $(O)/tests/unit/%.o $(B)/libtest.a
	@mkdir -p $(@D)
	$(CC) -pie $(ALL_LDFLAGS) -o $@ $< $(B)/libtest.a -lcmocka $(LIBS_DAEMON)

$(B)/bench/%: $(O)/tests/bench/%.o $(B)/libtest.a
	@mkdir -p $(@D)
	$(CC) -pie $(ALL_LDFLAGS) -o $@ $< $(B)/libtest.a $(LIBS_DAEMON) $(LIBS_MALLOC) -lm $(LDLIBS)

# The daemon, but for what the file says.
$(B)/bench/objmapperd_uncounted: $(O)/tests/bench/objmapperd_uncounted.o $(DAEMON_OBJS) $(LIB_OBJS)
	@mkdir -p $(@D)
	$(CC) -pie $(ALL_LDFLAGS) $(foreach f,count count_ok tally_many,-Wl,--wrap=metrics_$(f)) -o $@ $^ $(LIBS_DAEMON) \
		$(LIBS_MALLOC)

# With clang a libFuzzer program; with gcc (any other mode) a program that replays the files it is given.
ifeq ($(MODE),fuzz)
$(B)/fuzz/%: $(O)/tests/fuzz/%.o $(B)/libtest.a
	@mkdir -p $(@D)
	$(CC) -fsanitize=fuzzer $(ALL_LDFLAGS) -o $@ $< $(B)/libtest.a $(LIBS_DAEMON)
else
$(B)/fuzz/%: $(O)/tests/fuzz/%.o $(O)/tests/fuzz/replay.o $(B)/libtest.a
	@mkdir -p $(@D)
	$(CC) -pie $(ALL_LDFLAGS) -o $@ $< $(O)/tests/fuzz/replay.o $(B)/libtest.a $(LIBS_DAEMON)
endif

# ---- run, install, help ------------------------------------------------------------------------------------------------

unitdir ?= $(prefix)/lib/systemd/system
presetdir ?= $(prefix)/lib/systemd/system-preset
sysusersdir ?= $(prefix)/lib/sysusers.d
tmpfilesdir ?= $(prefix)/lib/tmpfiles.d
docdir  ?= $(prefix)/share/doc/objmapperd
bashcompdir ?= $(prefix)/share/bash-completion/completions
zshcompdir ?= $(prefix)/share/zsh/site-functions
SO      := libobjmapper.so
MAN     := $(sort $(wildcard man/*.[1-9]))
EXAMPLES := $(sort $(wildcard systemd/examples/*.conf))
INSTALLED = "$(bindir)/objmap" "$(sbindir)/objmapperd" "$(libdir)/$(SO)" "$(libdir)/$(SO).$(SOVERSION)" \
            "$(libdir)/$(SO).$(VERSION)" "$(libdir)/libobjmapper.a" "$(libdir)/pkgconfig/libobjmapper.pc" \
            "$(includedir)/objmapper.h" "$(unitdir)/objmapperd.service" "$(unitdir)/objmapperd.socket" \
            "$(presetdir)/80-objmapperd.preset" "$(sysusersdir)/objmapperd.conf" "$(tmpfilesdir)/objmapperd.conf" \
            "$(bashcompdir)/objmap" "$(zshcompdir)/_objmap" "$(sysconfdir)/objmapper/objmapperd.conf" \
            "$(docdir)/examples/grafana-objmapperd.json" \
            $(foreach e,$(notdir $(EXAMPLES)),"$(docdir)/examples/$(e)") \
            $(foreach m,$(notdir $(MAN)),"$(mandir)/man$(subst .,,$(suffix $(m)))/$(m)")
# Directories that are the project's own; `uninstall` leaves those that it finds in use.
OWN_DIRS  = "$(sysconfdir)/objmapper" "$(docdir)/examples" "$(docdir)"

run: all
	@sh tests/run-sample.sh

# A configuration that is there already is the administrator's: it stays.
install: all
	install -d "$(DESTDIR)$(bindir)" "$(DESTDIR)$(sbindir)" "$(DESTDIR)$(libdir)/pkgconfig" "$(DESTDIR)$(includedir)" \
		"$(DESTDIR)$(unitdir)" "$(DESTDIR)$(presetdir)" "$(DESTDIR)$(sysusersdir)" "$(DESTDIR)$(tmpfilesdir)" \
		"$(DESTDIR)$(bashcompdir)" "$(DESTDIR)$(zshcompdir)" \
		"$(DESTDIR)$(docdir)/examples" "$(DESTDIR)$(sysconfdir)/objmapper"
	install -m 755 $(B)/objmap "$(DESTDIR)$(bindir)/"
	install -m 755 $(B)/objmapperd "$(DESTDIR)$(sbindir)/"
	install -m 755 $(B)/$(SO).$(SOVERSION) "$(DESTDIR)$(libdir)/$(SO).$(VERSION)"
	ln -sf $(SO).$(VERSION) "$(DESTDIR)$(libdir)/$(SO).$(SOVERSION)"
	ln -sf $(SO).$(SOVERSION) "$(DESTDIR)$(libdir)/$(SO)"
	install -m 644 $(B)/libobjmapper.a "$(DESTDIR)$(libdir)/"
	sed -e 's|@prefix@|$(prefix)|' -e 's|@libdir@|$(libdir)|' -e 's|@includedir@|$(includedir)|' \
		-e 's|@version@|$(VERSION)|' lib/client/libobjmapper.pc.in >"$(DESTDIR)$(libdir)/pkgconfig/libobjmapper.pc"
	chmod 644 "$(DESTDIR)$(libdir)/pkgconfig/libobjmapper.pc"
	install -m 644 lib/client/objmapper.h "$(DESTDIR)$(includedir)/"
	set -e; for m in $(MAN); do d="$(DESTDIR)$(mandir)/man$${m##*.}"; install -d "$$d"; install -m 644 $$m "$$d/"; done
	sed -e 's|@sbindir@|$(sbindir)|' -e 's|@bindir@|$(bindir)|' systemd/objmapperd.service >"$(DESTDIR)$(unitdir)/objmapperd.service"
	chmod 644 "$(DESTDIR)$(unitdir)/objmapperd.service"
	install -m 644 systemd/objmapperd.socket "$(DESTDIR)$(unitdir)/"
	install -m 644 conf/grafana-objmapperd.json "$(DESTDIR)$(docdir)/examples/"
	install -m 644 systemd/objmapperd.preset "$(DESTDIR)$(presetdir)/80-objmapperd.preset"
	install -m 644 systemd/objmapperd.sysusers "$(DESTDIR)$(sysusersdir)/objmapperd.conf"
	install -m 644 systemd/objmapperd.tmpfiles "$(DESTDIR)$(tmpfilesdir)/objmapperd.conf"
	install -m 644 completions/objmap.bash "$(DESTDIR)$(bashcompdir)/objmap"
	install -m 644 completions/_objmap "$(DESTDIR)$(zshcompdir)/"
	install -m 644 $(EXAMPLES) "$(DESTDIR)$(docdir)/examples/"
	test -e "$(DESTDIR)$(sysconfdir)/objmapper/objmapperd.conf" || \
		install -m 644 conf/objmapperd.conf "$(DESTDIR)$(sysconfdir)/objmapper/"

uninstall:
	set -e; for f in $(INSTALLED); do rm -f "$(DESTDIR)$$f"; done
	for d in $(OWN_DIRS); do rmdir "$(DESTDIR)$$d" 2>/dev/null || :; done

help:
	@echo 'make             builds build/release/{objmapperd,objmap,libobjmapper.so.$(SOVERSION),libobjmapper.a}'
	@echo 'make run         builds and serves a sample tree in the foreground'
	@echo 'make check       every test that is quick; make check-long: those that take minutes'
	@echo 'make check-model the ring'"'"'s sleep in every order of events (spin)'
	@echo 'make bench       the benchmarks, beside their floors'
	@echo 'make bench-peers splice beside nginx, small objects beside memcached and redis'
	@echo 'make bench-cold  reads that find nothing in the page cache'
	@echo 'make coverage    line coverage of lib/ and objmapperd/ (gcovr)'
	@echo 'make fuzz        each fuzz target for FUZZ_SECONDS=$(FUZZ_SECONDS) (clang)'
	@echo 'make install     honours DESTDIR, prefix, bindir, sbindir, libdir, includedir, mandir, sysconfdir, unitdir,'
	@echo '                 presetdir, sysusersdir, tmpfilesdir, docdir, bashcompdir, zshcompdir'
	@echo 'make uninstall   removes what install put there'
	@echo 'make clean       removes build/'
	@echo 'MODE=            release (default), debug, asan, tsan, cov, hash, fuzz: each builds in build/MODE'
	@echo 'CI=1             warnings are errors'

unit-tests: $(UNIT_TESTS)
fuzz-targets: $(FUZZ_TARGETS)
benches: $(BENCHES)

clean:
	rm -rf build

.PHONY: all unit-tests fuzz-targets benches run install uninstall help clean
.SECONDARY:
-include $(shell find $(O) $(RELEASED) -name '*.d' 2>/dev/null)
include tests/checks.mk
