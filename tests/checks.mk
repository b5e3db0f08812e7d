# SPDX-License-Identifier: MIT
# What `make check` and its longer relatives run. The stages of `make check` stand in tests/check.sh.
JOBS         ?= $(shell nproc)
FUZZ_SECONDS ?= 600
export MAKE PYTHON JOBS

check:
	@sh tests/check.sh

check-long: all
	OBJM_BUILD=build/release $(PYTHON) -m pytest -q -m long tests/integration
	@! $(PYTHON) tests/systemd/possible.py || OBJM_BUILD=build/release $(PYTHON) -m pytest -q -m long tests/systemd
	@$(MAKE) -s -j$(JOBS) MODE=asan all
	@set -e; for k in 2 3 4 5 6 7 8; do \
		OBJM_BUILD=build/asan $(PYTHON) -m pytest -q -m "not long and not timing" --part $$k/8 tests/integration; done
	@set -e; for t in tests/long/*.sh; do echo "== $$t"; sh "$$t"; done

# The daemon beside floors that make the same system calls. Needs two CPUs and quiet.
bench:
	@$(MAKE) -s -j$(JOBS) MODE=release all benches
	@$(PYTHON) tests/bench/bench.py $(BENCH_ARGS)

# The daemon beside nginx, memcached and redis, as far as they are installed. Needs two CPUs and quiet.
bench-peers:
	@$(MAKE) -s -j$(JOBS) MODE=release all benches
	@$(PYTHON) tests/bench/peers.py $(BENCH_ARGS)

# Reads that find nothing in the page cache; see "Cold reads" in HACKING.md.
bench-cold:
	@$(MAKE) -s -j$(JOBS) MODE=release benches
	@$(PYTHON) tests/bench/cold.py $(BENCH_ARGS)

# Finds new inputs under build/fuzz/corpus; what deserves to stay is copied to tests/corpus by hand.
fuzz:
	@command -v clang >/dev/null || { echo "make fuzz needs clang and libclang-rt-dev"; exit 1; }
	@$(MAKE) -s MODE=fuzz fuzz-targets
	@set -e; for t in build/fuzz/fuzz/fuzz_*; do name=$${t##*/}; \
		mkdir -p build/fuzz/corpus/$$name; echo "== $$name for $(FUZZ_SECONDS) s"; \
		"$$t" -max_total_time=$(FUZZ_SECONDS) -timeout=5 -print_final_stats=1 -verbosity=0 \
			-artifact_prefix=build/fuzz/$$name- build/fuzz/corpus/$$name tests/corpus/$$name; done

# Line coverage of lib/ and objmapperd/ by the unit tests and the integration tests.
coverage:
	@command -v gcovr >/dev/null || { echo "make coverage needs gcovr"; exit 1; }
	@$(MAKE) -s MODE=cov all unit-tests
	@find build/cov -name '*.gcda' -exec rm -f {} +
	@mkdir -p build/check && : >build/check/cov
	@sh tests/run-units.sh build/check/cov build/cov/tests/unit/*_test
	OBJM_BUILD=build/cov $(PYTHON) -m pytest -q -m "not long and not timing" tests/integration
	gcovr --root . --filter 'lib/' --filter 'objmapperd/' --exclude-throw-branches --fail-under-line 85 build/cov

# To be preloaded: makes calls of a chosen function fail. Without sanitizers, whose runtime has to come first.
$(B)/fault.so: tests/fault/fault.c
	@mkdir -p $(@D)
	$(CC) -std=gnu17 -D_GNU_SOURCE -O1 -g -Wall -Wextra -shared -fPIC -pthread -o $@ $<

# A client to be run under it.
$(B)/fault-client: $(O)/tests/fault/client.o $(B)/libobjmapper.a
	$(CC) -pie $(ALL_LDFLAGS) -o $@ $^

# Clients that misuse the ring; it shares no code with what it attacks.
$(B)/ring-zoo: tests/zoo/ring_zoo.c
	@mkdir -p $(@D)
	$(CC) -std=gnu17 -D_GNU_SOURCE -O1 -g -Wall -Wextra -pthread -o $@ $<

# The ring's way of going to sleep, and the same with either of its two fences left out.
wakes: $(foreach k,0 1 2,$(B)/wake/ring_wake_$(k) $(B)/wake/doorbells_$(k))

$(B)/wake/ring_wake_%: tests/wake/ring_wake.c lib/concurrency/ring.c lib/concurrency/ring.h lib/base/clock.h
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(CPPFLAGS) -DOBJM_RING_WITHOUT_FENCE=$* $(ALL_LDFLAGS) -o $@ $(filter %.c,$^)

$(B)/wake/doorbells_%: tests/wake/doorbells.c lib/concurrency/ring.c lib/concurrency/ring.h lib/base/fd.c \
		$(wildcard lib/transport/ring_*.[ch] lib/transport/shm.[ch] lib/transport/arena.h lib/protocol/ring.[ch])
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(CPPFLAGS) -DOBJM_RING_WITHOUT_FENCE=$* $(ALL_LDFLAGS) -o $@ $(filter %.c,$^)

# The same as a model, every state of which is searched.
check-model:
	@sh tests/model/run.sh

.PHONY: wakes check-model check check-long bench bench-peers bench-cold fuzz coverage
