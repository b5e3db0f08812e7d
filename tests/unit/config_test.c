/* SPDX-License-Identifier: MIT */
/*
 * Each test writes files into a directory of its own and loads them; what is wrong must be said with file, line, key.
 */
#include "base/attr.h"
#include "base/clock.h"
#include "objmapperd/config.h"
#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>
#include <cmocka.h>

/* libconfig 1.5 leaks the text of a string that a syntax error cuts off. Called by LeakSanitizer. */
__attribute__((visibility("default"))) const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
        return "leak:libconfig.so\n";
}

static char dir[] = "/tmp/objm-config-XXXXXX";
static char path[PATH_MAX];

static void write_file(const char *name, const char *text, size_t len)
{
        char p[PATH_MAX];
        FILE *f;

        snprintf(p, sizeof(p), "%s/%s", dir, name);
        f = fopen(p, "w");
        assert_non_null(f);
        assert_int_equal(fwrite(text, 1, len, f), len);
        assert_int_equal(fclose(f), 0);
}

static int load_with(struct options *o, const char *text, struct config **ret, struct config_error *err)
{
        write_file("t.conf", text, strlen(text));
        o->config_path = path;
        return config_load(o, ret, err);
}

static int load(const char *text, struct config **ret, struct config_error *err)
{
        struct options o = {.model = -1, .pool_size = -1, .copy_pool_size = -1};

        return load_with(&o, text, ret, err);
}

/* @text must be refused, and the message be "DIR/t.conf:" + @where + one that has @what. */
static void refused(const char *text, const char *where, const char *what)
{
        struct config *c = (struct config *)&path;
        struct config_error err;
        char start[PATH_MAX + 64];

        snprintf(start, sizeof(start), "%s:%s", path, where);
        if (load(text, &c, &err) >= 0)
                fail_msg("accepted: %s", text);
        if (strncmp(err.text, start, strlen(start)) != 0 || !strstr(err.text, what))
                fail_msg("for <%s> said <%s>, not <%s ... %s>", text, err.text, start, what);
        assert_ptr_equal(c, &path);
}

static struct config *accepted(const char *text)
{
        struct config_error err;
        struct config *c = NULL;

        if (load(text, &c, &err) < 0)
                fail_msg("%s", err.text);
        return c;
}

static void empty_file_means_defaults(void **state)
{
        struct config *c = accepted("# nothing\n");

        assert_int_equal(c->n_listen, 1);
        assert_string_equal(c->listen[0].path, "/run/objmapper.sock");
        assert_int_equal(c->listen[0].mode, 0660);
        if (getgrnam("objmapper"))
                assert_string_equal(c->listen[0].group, "objmapper");
        else
                assert_null(c->listen[0].group);
        assert_int_equal(c->model, CONFIG_MODEL_THREAD_POOL);
        assert_int_equal(c->pool_size, 0);
        assert_int_equal(c->copy_pool_size, 0);
        assert_int_equal(c->max_queue_depth, 1000);
        assert_int_equal(c->max_connections, 1000);
        assert_int_equal(c->requests_per_connection, 0);
        assert_true(c->persistent && c->optimize_for_latency && c->scan && c->watch);
        assert_true(c->idle_ns == 60 * OBJM_NS_PER_S && c->request_ns == 30 * OBJM_NS_PER_S);
        assert_true(c->drain_ns == 5 * OBJM_NS_PER_S);
        assert_int_equal(c->n_exports, 1);
        assert_string_equal(c->exports[0].prefix, "/");
        assert_string_equal(c->exports[0].path, "/var/lib/objmapper");
        assert_int_equal(c->uri_length, 4096);
        assert_int_equal(c->in_flight, 256);
        assert_true(c->ring_enabled && c->ring_idle_ns == 60 * OBJM_NS_PER_S);
        assert_int_equal(c->ring_entries, 256);
        assert_int_equal(c->ring_arena, 262144);
        assert_int_equal(c->log_level, LOG_INFO);
        config_free(c);
}

static void assert_same_config(const struct config *a, const struct config *b)
{
        assert_true(config_same_store(a, b));
        assert_int_equal(a->n_listen, b->n_listen);
        assert_string_equal(a->listen[0].path, b->listen[0].path);
        assert_int_equal(a->listen[0].mode, b->listen[0].mode);
        assert_int_equal(a->model, b->model);
        assert_int_equal(a->pool_size, b->pool_size);
        assert_int_equal(a->copy_pool_size, b->copy_pool_size);
        assert_int_equal(a->max_queue_depth, b->max_queue_depth);
        assert_int_equal(a->max_connections, b->max_connections);
        assert_int_equal(a->requests_per_connection, b->requests_per_connection);
        assert_true(a->persistent == b->persistent && a->optimize_for_latency == b->optimize_for_latency);
        assert_true(a->idle_ns == b->idle_ns && a->request_ns == b->request_ns && a->drain_ns == b->drain_ns);
        assert_int_equal(a->uri_length, b->uri_length);
        assert_int_equal(a->in_flight, b->in_flight);
        assert_true(a->ring_enabled == b->ring_enabled && a->ring_idle_ns == b->ring_idle_ns);
        assert_true(a->ring_entries == b->ring_entries && a->ring_arena == b->ring_arena);
        assert_int_equal(a->log_level, b->log_level);
}

/* The file that is installed has every key as a comment. Taken out of the comments, it must say what holds without. */
static void the_installed_file_stands_at_the_defaults(void **state)
{
        static char text[16384];
        struct config *file, *defaults;
        char line[512], *group;
        size_t at = 0;
        FILE *f = fopen("conf/objmapperd.conf", "re");

        assert_non_null(f);
        while (fgets(line, sizeof(line), f)) {
                bool is_key = line[0] == '#' && (line[1] != ' ' || line[2] == ' ');

                at += (size_t)snprintf(text + at, sizeof(text) - at, "%s", line + is_key);
        }
        assert_true(at < sizeof(text));
        assert_int_equal(fclose(f), 0);
        group = strstr(text, "\"objmapper\"");
        assert_non_null(group);
        if (!getgrnam("objmapper"))
                memcpy(group, "\"root\"     ", strlen("\"objmapper\""));
        file = accepted(text);
        defaults = accepted("");
        assert_same_config(file, defaults);
        config_free(file);
        config_free(defaults);
}

static void every_key_is_read(void **state)
{
        struct config *c = accepted(
                "listen = ( { transport = \"unix\"; path = \"/x/a\"; mode = \"0600\"; group = \"root\"; },\n"
                "           { transport = \"unix\"; path = \"/x/b\"; } );\n"
                "concurrency = { model = \"thread-per-connection\"; pool_size = 3; copy_pool_size = 5;\n"
                "  max_queue_depth = 7; max_connections = 11; requests_per_connection = 13; persistent = false;\n"
                "  optimize_for_latency = false; use_async_copy = false; };\n"
                "timeouts = { idle = \"5m\"; request = 2; drain = \"500ms\"; };\n"
                "exports = ( { prefix = \"/a/\"; path = \"/srv/a\"; allow_uids = ( 0, 4294967294L );\n"
                "              allow_gids = ( \"root\" ); follow_symlinks = true; },\n"
                "            { prefix = \"/b/\"; path = \"/srv/b\"; allow_uids = [ ]; } );\n"
                "index = { scan = false; watch = false; };\n"
                "limits = { uri_length = \"1K\"; in_flight = 4096;\n"
                "  connections_per_uid = 1000000; descriptors = 17; descriptors_per_uid = 19;\n"
                "  queued_bytes = \"1M\"; queued_bytes_per_uid = 4294967295L;\n"
                "  requests_per_second = 23; requests_per_second_per_uid = 29; };\n"
                "ring = { enabled = false; entries = 64; arena = \"16K\"; idle = \"5s\"; };\n"
                "metrics = { http = \"\"; };\n"
                "control = { admin_gids = ( \"root\", 77 ); };\n"
                "log = { level = \"debug\"; };\n");
        char origin[PATH_MAX + 16];

        assert_int_equal(c->n_listen, 2);
        assert_string_equal(c->listen[0].path, "/x/a");
        assert_int_equal(c->listen[0].mode, 0600);
        assert_string_equal(c->listen[0].group, "root");
        assert_string_equal(c->listen[1].path, "/x/b");
        assert_int_equal(c->listen[1].mode, 0660);
        assert_null(c->listen[1].group);
        assert_int_equal(c->model, CONFIG_MODEL_THREAD_PER_CONNECTION);
        assert_int_equal(c->pool_size, 3);
        assert_int_equal(c->copy_pool_size, 5);
        assert_int_equal(c->max_queue_depth, 7);
        assert_int_equal(c->max_connections, 11);
        assert_int_equal(c->requests_per_connection, 13);
        assert_false(c->persistent || c->optimize_for_latency || c->scan || c->watch);
        assert_true(c->idle_ns == 300 * OBJM_NS_PER_S && c->request_ns == 2 * OBJM_NS_PER_S);
        assert_true(c->drain_ns == 500 * OBJM_NS_PER_MS);
        assert_int_equal(c->connections_per_uid, 1000000);
        assert_int_equal(c->descriptors, 17);
        assert_int_equal(c->descriptors_per_uid, 19);
        assert_int_equal(c->queued_bytes, 1 << 20);
        assert_int_equal(c->queued_bytes_per_uid, UINT32_MAX);
        assert_int_equal(c->requests_per_second, 23);
        assert_int_equal(c->requests_per_second_per_uid, 29);
        assert_int_equal(c->n_exports, 2);
        assert_true(!c->ring_enabled && c->ring_entries == 64 && c->ring_arena == 16384);
        assert_true(c->ring_idle_ns == 5 * OBJM_NS_PER_S);
        assert_string_equal(c->exports[0].prefix, "/a/");
        assert_string_equal(c->exports[0].path, "/srv/a");
        assert_true(c->exports[0].follow_symlinks && !c->exports[1].follow_symlinks);
        assert_int_equal(c->exports[0].n_allow_uids, 2);
        assert_true(c->exports[0].allow_uids[0] == 0 && c->exports[0].allow_uids[1] == 4294967294u);
        assert_int_equal(c->exports[0].n_allow_gids, 1);
        assert_int_equal(c->exports[0].allow_gids[0], 0);
        assert_int_equal(c->exports[1].n_allow_uids, 0);
        assert_int_equal(c->uri_length, 1024);
        assert_int_equal(c->in_flight, 4096);
        assert_int_equal(c->log_level, LOG_DEBUG);
        assert_true(c->admin_gids.n == 2 && c->admin_gids.id[0] == 0 && c->admin_gids.id[1] == 77);
        snprintf(origin, sizeof(origin), "%s:9", path);
        assert_string_equal(c->export_origin[1], origin);
        config_free(c);
}

static void wrong_keys_and_types_are_named(void **state)
{
        refused("\nlisten_on = 1;\n", "2: listen_on:", "unknown key");
        refused("log = {\n  level = \"info\";\n  levle = 1;\n};\n", "3: log.levle:", "unknown key");
        refused("log = 1;\n", "1: log:", "must be a group");
        refused("log = { level = 7; };\n", "1: log.level:", "must be a string");
        refused("log = { level = \"loud\"; };\n", "1: log.level:", "\"debug\"");
        refused("index = { scan = 1; };\n", "1: index.scan:", "true or false");
        refused("concurrency = { pool_size = \"2\"; };\n", "1: concurrency.pool_size:", "integer");
        refused("concurrency = { pool_size = 2.0; };\n", "1: concurrency.pool_size:", "integer");
        refused("concurrency = { model = \"fork\"; };\n", "1: concurrency.model:", "thread-pool");
        refused("log = { level = \"info\"; };\nlog = { };\n", "2: ", "duplicate");
        refused("log = { level = \"info\";\n level = \"info\"; };\n", "2: ", "duplicate");
        refused("log = {\n", "2: ", "syntax error");
        refused("control = { admin_gids = 1; };\n", "1: control.admin_gids:", "list");
        refused("control = {\n admin_gids = [ \"no such group\" ]; };\n", "2: control.admin_gids", "no such group");
}

static void values_have_ranges(void **state)
{
        refused("concurrency = { pool_size = -1; };\n", "1: concurrency.pool_size:", "0 to 1024");
        refused("concurrency = { pool_size = 1025; };\n", "1: concurrency.pool_size:", "0 to 1024");
        refused("concurrency = { copy_pool_size = 1025; };\n", "1: concurrency.copy_pool_size:", "0 to 1024");
        refused("concurrency = { max_connections = 0; };\n", "1: concurrency.max_connections:", "1 to 1000000");
        refused("concurrency = { max_queue_depth = 0; };\n", "1: concurrency.max_queue_depth:", "1 to 1000000");
        refused("limits = { uri_length = 0; };\n", "1: limits.uri_length:", "1 to 4096");
        refused("limits = { uri_length = \"5K\"; };\n", "1: limits.uri_length:", "1 to 4096");
        refused("limits = { uri_length = \"big\"; };\n", "1: limits.uri_length:", "size");
        refused("limits = { in_flight = 4097; };\n", "1: limits.in_flight:", "1 to 4096");
        refused("limits = { connections_per_uid = 1000001; };\n", "1: limits.connections_per_uid:", "0 to 1000000");
        refused("limits = { descriptors = -1; };\n", "1: limits.descriptors:", "0 to 1000000");
        refused("limits = { descriptors_per_uid = 100000001; };\n", "1: limits.descriptors_per_uid:", "0 to 100000000");
        refused("limits = { queued_bytes = \"2G\"; };\n", "1: limits.queued_bytes:", "0 to 1073741824");
        refused("limits = { queued_bytes_per_uid = \"4G\"; };\n", "1: limits.queued_bytes_per_uid:", "0 to 4294967295");
        refused("limits = { requests_per_second = 1000000001; };\n", "1: limits.requests_per_second:", "0 to 10000");
        refused("limits = { requests_per_second_per_uid = 1.5; };\n", "1: limits.requests_per_second_per_uid:",
                "integer");
        refused("timeouts = { idle = -1; };\n", "1: timeouts.idle:", "0 to 604800");
        refused("timeouts = { idle = \"1d\"; };\n", "1: timeouts.idle:", "\"60s\"");
        refused("timeouts = { idle = \"200h\"; };\n", "1: timeouts.idle:", "604800");
        refused("timeouts = { idle = true; };\n", "1: timeouts.idle:", "integer");
}

static void later_features_are_not_taken_silently(void **state)
{
        static const char *const on[] = {
                "concurrency = { use_async_copy = true; };",
                "concurrency = { use_async_copy = 1L; };",
        };

        for (size_t i = 0; i < objm_array_len(on); i++)
                refused(on[i], "1: ", "is not supported by this version");
}

static void endpoints_are_addresses_or_paths(void **state)
{
        refused("metrics = { http = \"localhost:9180\"; };", "1: metrics.http", "ADDRESS:PORT");
        refused("metrics = { http = \"127.0.0.1\"; };", "1: metrics.http", "ADDRESS:PORT");
        refused("metrics = { http = \"run/m\"; };", "1: metrics.http", "ADDRESS:PORT");
        refused("metrics = { http = 9180; };", "1: metrics.http", "string");
        refused("metrics = { http = true; };", "1: metrics.http", "string");
}

static void rings_have_bounds(void **state)
{
        refused("ring = { entries = 0; };", "1: ring.entries", "8 to 4096");
        refused("ring = { entries = 4097; };", "1: ring.entries", "8 to 4096");
        refused("ring = { arena = 4096; };", "1: ring.arena", "8192");
        refused("ring = { arena = \"1G\"; };", "1: ring.arena", "67108864");
        refused("ring = { enabled = 1; };", "1: ring.enabled", "true or false");
}

static void udp_sockets_have_address_and_port(void **state)
{
        struct config *c = accepted("listen = ( { transport = \"udp\"; port = 9998; },\n"
                                    "{ transport = \"udp\"; port = 0; address = \"::1\"; },\n"
                                    "{ address = \"::1\"; port = 0; transport = \"udp\"; } );\n");

        assert_int_equal(c->n_listen, 3);
        assert_int_equal(c->listen[0].transport, CONFIG_TRANSPORT_UDP);
        assert_string_equal(config_listen_address(&c->listen[0]), "127.0.0.1");
        assert_int_equal(c->listen[0].port, 9998);
        assert_string_equal(c->listen[1].address, "::1");
        assert_int_equal(c->listen[1].port, 0);
        config_free(c);
#define UDP "listen = ( { transport = \"udp\"; "
        refused(UDP "} );", "1: listen[0]:", "has no port");
        refused(UDP "port = 65536; } );", "1: listen[0].port:", "65535");
        refused(UDP "port = -1; } );", "1: listen[0].port:", "65535");
        refused(UDP "port = \"9998\"; } );", "1: listen[0].port:", "integer");
        refused(UDP "port = 1; path = \"/x\"; } );", "1: listen[0].path:", "does not go with");
        refused(UDP "port = 1; mode = \"0600\"; } );", "1: listen[0].mode:", "does not go with");
        refused(UDP "port = 1; address = \"localhost\"; } );", "1: listen[0].address:", "in numbers");
        refused(UDP "port = 1; address = \"0.0.0.0\"; } );", "1: listen[0].address:", "one address");
        refused(UDP "port = 1; address = \"::\"; } );", "1: listen[0].address:", "one address");
        refused(UDP "port = 1; address = \"224.0.0.1\"; } );", "1: listen[0].address:", "one address");
        refused(UDP "port = 1; },\n{ transport = \"udp\"; port = 1; } );", "2: listen[1]:", "second time");
}

static void bad_listen_entries_are_named(void **state)
{
        char text[256], deep[120];

        memset(deep, 'd', sizeof(deep));
        deep[0] = '/';
        deep[108] = '\0';
        refused("listen = { };", "1: listen:", "list");
        refused("listen = ( );", "1: listen:", "at least one");
        refused("listen = ( 1 );", "1: listen[0]:", "group");
        refused("listen = ( { path = \"/x\"; } );", "1: listen[0]:", "has no transport");
        refused("listen = ( { transport = \"unix\"; } );", "1: listen[0]:", "has no path");
        refused("listen = ( { transport = \"unix\"; path = \"x\"; } );", "1: listen[0].path:", "absolute");
        refused("listen = ( { transport = \"unix\"; path = \"\"; } );", "1: listen[0].path:", "empty");
        refused("listen = ( { transport = \"pipe\"; path = \"/x\"; } );", "1: listen[0].transport:", "unix");
        refused("listen = (\n{ transport = \"unix\"; path = \"/x\"; mode = 0660; } );", "2: listen[0].mode:", "string");
        refused("listen = ( { transport = \"unix\"; path = \"/x\"; mode = \"0800\"; } );", "1: listen[0].mode:",
                "octal");
        refused("listen = ( { transport = \"unix\"; path = \"/x\"; group = \"no such\"; } );", "1: listen[0].group:",
                "no group");
        refused("listen = ( { transport = \"unix\"; path = \"/x\"; port = 1; } );", "1: listen[0].port:", "go with");
        refused("listen = ( { transport = \"unix\"; path = \"/x\"; prot = 1; } );", "1: listen[0].prot:", "unknown");
        refused("listen = ( { transport = \"unix\"; path = \"/x\"; },\n { transport = \"unix\"; path = \"/x\"; } );",
                "2: listen[1]:", "second time");
        snprintf(text, sizeof(text), "listen = ( { transport = \"unix\"; path = \"%s\"; } );", deep);
        refused(text, "1: listen[0].path:", "longer than 107");
}

#define TCP(rest) "listen = (\n{ transport = \"tcp\"; " rest " } );"

static void bad_tcp_entries_are_named(void **state)
{
        refused(TCP(""), "2: listen[0]:", "has no port");
        refused(TCP("address = \"::1\";"), "2: listen[0]:", "has no port");
        refused(TCP("port = 70000;"), "2: listen[0].port:", "0 to 65535, not 70000");
        refused(TCP("port = -1;"), "2: listen[0].port:", "0 to 65535");
        refused(TCP("port = \"80\";"), "2: listen[0].port:", "integer");
        refused(TCP("port = 1; path = \"/x\";"), "2: listen[0].path:", "does not go with transport \"tcp\"");
        refused(TCP("port = 1; group = \"root\";"), "2: listen[0].group:", "does not go with");
        refused(TCP("port = 1; address = \"localhost\";"), "2: listen[0].address:", "not \"localhost\"");
        refused(TCP("port = 1; address = \"127.0.0.1:80\";"), "2: listen[0].address:", "in numbers");
        refused(TCP("port = 1; address = \"[::1]\";"), "2: listen[0].address:", "in numbers");
        refused(TCP("port = 1; address = \"\";"), "2: listen[0].address:", "empty");
        refused(TCP("port = 1; address = \"1.2.3\";"), "2: listen[0].address:", "in numbers");
        refused(TCP("port = 1; address = \"fe80::1%no-such\";"), "2: listen[0].address:", "in numbers");
        refused(TCP("port = 1; }, { transport = \"tcp\"; address = \"127.0.0.1\"; port = 1;"), "2: listen[1]:",
                "listens on 127.0.0.1 a second time");
        refused(TCP("port = 1; address = \"::1\"; }, { transport = \"tcp\"; address = \"0::1\"; port = 1;"),
                "2: listen[1]:", "second time");
}

static void tcp_entries_are_taken(void **state)
{
        struct config_error err;
        struct config *c;

        assert_int_equal(load("listen = ( { transport = \"tcp\"; port = 0; },\n { port = 0; transport = \"tcp\"; },\n"
                              "{ transport = \"unix\"; path = \"/x\"; },\n"
                              "{ address = \"::1\"; transport = \"tcp\"; port = 65535; } );",
                              &c, &err),
                         0);
        assert_int_equal(c->n_listen, 4);
        assert_int_equal(c->listen[0].transport, CONFIG_TRANSPORT_TCP);
        assert_string_equal(config_listen_address(&c->listen[0]), "127.0.0.1");
        assert_int_equal(c->listen[1].port, 0);
        assert_int_equal(c->listen[2].transport, CONFIG_TRANSPORT_UNIX);
        assert_string_equal(config_listen_address(&c->listen[3]), "::1");
        assert_int_equal(c->listen[3].port, 65535);
        assert_non_null(strstr(c->listen[3].origin, ":4"));
        config_free(c);
}

static void bad_exports_are_named(void **state)
{
        refused("exports = ( );", "1: exports:", "at least one");
        refused("exports = ( { path = \"/x\"; } );", "1: exports[0]:", "has no prefix");
        refused("exports = ( { prefix = \"/\"; } );", "1: exports[0]:", "has no path");
        refused("exports = ( { prefix = \"/a\"; path = \"/x\"; } );", "1: exports[0].prefix:", "must end in \"/\"");
        refused("exports = ( { prefix = \"/\"; path = \"x\"; } );", "1: exports[0].path:", "absolute");
        refused("exports = ( { prefix = \"/\"; path = \"/x\"; allow_uids = 1; } );",
                "1: exports[0].allow_uids:", "list");
        refused("exports = ( { prefix = \"/\"; path = \"/x\"; allow_uids = [ -1 ]; } );",
                "1: exports[0].allow_uids[0]:", "0 to 4294967294");
        refused("exports = ( { prefix = \"/\"; path = \"/x\"; allow_uids = [ 4294967295L ]; } );",
                "1: exports[0].allow_uids[0]:", "0 to 4294967294");
        refused("exports = ( { prefix = \"/\"; path = \"/x\"; allow_gids = [ \"no such\" ]; } );",
                "1: exports[0].allow_gids[0]:", "no such");
        refused("exports = ( { prefix = \"/\"; path = \"/x\"; allow_gids = ( [ ] ); } );",
                "1: exports[0].allow_gids[0]:", "integer");
        refused("exports = ( { prefix = \"/\"; path = \"/x\"; },\n{ prefix = \"/\"; path = \"/y\"; } );",
                "2: exports[1]:", "second time");
}

/* libconfig 1.5 would read 4294967296 as 0: root. */
static void integers_over_32_bits_do_not_wrap(void **state)
{
        refused("exports = ( { prefix = \"/\"; path = \"/x\";\n allow_uids = [ 4294967296 ]; } );", "2: ", "end in L");
        refused("a = 2147483648;", "1: ", "end in L");
        refused("a = 0x80000000;", "1: ", "end in L");
        refused("a = 99999999999999999999L;", "1: ", "too large");
        refused("/* 1\n2 */ a = 0xffffffffffffffffffL;", "2: ", "too large");
        config_free(accepted("# 4294967296\n// 4294967296\n/* 4294967296 */ log = { level = \"info\"; };\n"));
        config_free(accepted("exports = ( { prefix = \"/4294967296/\"; path = \"/x/\\\"4294967296\"; } );"));
}

static void includes_are_followed(void **state)
{
        static const char level[] = "log = {\n  level = \"debug\"; };\n", bad[] = "\n\nlog = { level = \"loud\"; };\n";
        struct config_error err;
        struct config *c;

        write_file("level.conf", level, strlen(level));
        c = accepted("@include \"level.conf\"\nindex = { scan = false; };\n");
        assert_int_equal(c->log_level, LOG_DEBUG);
        assert_false(c->scan);
        config_free(c);
        write_file("level.conf", bad, strlen(bad));
        assert_int_equal(load("@include \"level.conf\"\n", &c, &err), -EINVAL);
        assert_non_null(strstr(err.text, "level.conf:3: log.level: "));
}

/* libconfig 1.5 calls exit() for the first of these. */
static void bad_includes_are_errors(void **state)
{
        struct config_error err;
        struct config *c;

        assert_int_equal(load("@include \".\"\n", &c, &err), -EISDIR);
        assert_non_null(strstr(err.text, "directory"));
        assert_int_equal(load("@include \"absent\"\n", &c, &err), -ENOENT);
        refused("\n@include \"t.conf\"\n", "2: ", "nested too deep");
        refused("\n@include \"/etc/passwd\"\n", "2: ", "relative");
        refused("@include \"a\n\"\n", "1: ", "not a file name");
        refused("@include\n", "1: ", "syntax error");
}

static void unreadable_files_are_errors(void **state)
{
        struct options o = {.model = -1, .pool_size = -1, .copy_pool_size = -1};
        struct config_error err;
        struct config *c;

        o.config_path = "/nonexistent/objmapperd.conf";
        assert_int_equal(config_load(&o, &c, &err), -ENOENT);
        assert_string_equal(err.text, "/nonexistent/objmapperd.conf: No such file or directory");
        o.config_path = dir;
        assert_int_equal(config_load(&o, &c, &err), -EISDIR);
        o.config_path = "/dev/zero";
        assert_int_equal(config_load(&o, &c, &err), -EINVAL);
        write_file("t.conf", "a\0b", 3);
        o.config_path = path;
        assert_int_equal(config_load(&o, &c, &err), -EINVAL);
        assert_non_null(strstr(err.text, "not a text file"));
}

/* Whatever the bytes are: refused or accepted, but no exit, no crash. */
static void garbage_is_survived(void **state)
{
        static const char alphabet[] = "{}()[]\"\\=;:,@/*#\n \tabL019.-+xe";
        struct config_error err;
        unsigned seed = 1;

        for (int round = 0; round < 3000; round++) {
                struct config *c;
                char text[64];

                for (size_t i = 0; i < sizeof(text) - 1; i++)
                        text[i] = alphabet[(size_t)rand_r(&seed) % (sizeof(alphabet) - 1)];
                text[sizeof(text) - 1] = '\0';
                if (load(text, &c, &err) == 0)
                        config_free(c);
                else
                        assert_true(strlen(err.text) > 0);
        }
}

static void command_line_wins(void **state)
{
        char *exports[] = {"/=/tmp", "/a=b/=rel=dir"};
        struct options o = {.socket_path = "run/s",
                            .exports = exports,
                            .n_exports = 2,
                            .model = CONFIG_MODEL_THREAD_PER_REQUEST,
                            .pool_size = 0,
                            .copy_pool_size = 9};
        struct config_error err;
        struct config *c;

        assert_int_equal(load_with(&o,
                                   "concurrency = { pool_size = 4; };\n"
                                   "listen = ( { transport = \"unix\"; path = \"/x\"; group = \"root\"; } );",
                                   &c, &err),
                         0);
        assert_int_equal(c->n_listen, 1);
        assert_string_equal(c->listen[0].path, "run/s");
        assert_int_equal(c->listen[0].mode, 0660);
        assert_null(c->listen[0].group);
        assert_int_equal(c->n_exports, 2);
        assert_string_equal(c->exports[0].prefix, "/");
        assert_string_equal(c->exports[0].path, "/tmp");
        assert_string_equal(c->exports[1].prefix, "/a=b/");
        assert_string_equal(c->exports[1].path, "rel=dir");
        assert_int_equal(c->model, CONFIG_MODEL_THREAD_PER_REQUEST);
        assert_int_equal(c->pool_size, 0);
        assert_int_equal(c->copy_pool_size, 9);
        config_free(c);
}

static void tcp_of_the_command_line_replaces_listen(void **state)
{
        char *tcp[] = {"127.0.0.1:80", "[::1]:0"};
        struct options o = {.tcp = tcp, .n_tcp = 2, .model = -1, .pool_size = -1, .copy_pool_size = -1};
        struct config_error err;
        struct config *c;

        assert_int_equal(load_with(&o, "", &c, &err), 0);
        assert_int_equal(c->n_listen, 2);
        assert_int_equal(c->listen[0].transport, CONFIG_TRANSPORT_TCP);
        assert_string_equal(c->listen[0].address, "127.0.0.1");
        assert_int_equal(c->listen[0].port, 80);
        assert_string_equal(c->listen[1].address, "::1");
        config_free(c);
        o.socket_path = "s";
        assert_int_equal(load_with(&o, "", &c, &err), 0);
        assert_int_equal(c->n_listen, 3);
        assert_string_equal(c->listen[0].path, "s");
        config_free(c);
        tcp[1] = "localhost:80";
        assert_int_equal(load_with(&o, "", &c, &err), -EINVAL);
        assert_non_null(strstr(err.text, "--tcp localhost:80: "));
}

static void bad_command_line_values_are_named(void **state)
{
        static char *exports[][2] = {{"/a=/x", "/a=/x"}, {"", ""}, {"/=", "/="}, {"/x", "/x"}};
        char *twice[] = {"/=a", "/=b"}, deep[200];
        struct options o = {.n_exports = 1, .model = -1, .pool_size = -1, .copy_pool_size = -1};
        struct config_error err;
        struct config *c;

        for (size_t i = 0; i < objm_array_len(exports); i++) {
                o.exports = exports[i];
                assert_int_equal(load_with(&o, "", &c, &err), -EINVAL);
                assert_non_null(strstr(err.text, "--export"));
        }
        o.exports = twice;
        o.n_exports = 2;
        assert_int_equal(load_with(&o, "", &c, &err), -EINVAL);
        assert_non_null(strstr(err.text, "second time"));
        o.n_exports = 0;
        o.socket_path = memset(deep, 'd', sizeof(deep));
        deep[108] = '\0';
        assert_int_equal(load_with(&o, "", &c, &err), -EINVAL);
        assert_non_null(strstr(err.text, "107"));
        deep[107] = '\0';
        assert_int_equal(load_with(&o, "", &c, &err), 0);
        config_free(c);
}

#define BASE "exports = ( { prefix = \"/\"; path = \"/x\"; allow_uids = [ 1 ];"

static void same_store_sees_every_difference(void **state)
{
        static const char base[] = BASE " } );";
        static const char *const other[] = {
                "exports = ( { prefix = \"/a/\"; path = \"/x\"; allow_uids = [ 1 ]; } );",
                "exports = ( { prefix = \"/\"; path = \"/y\"; allow_uids = [ 1 ]; } );",
                "exports = ( { prefix = \"/\"; path = \"/x\"; allow_uids = [ 2 ]; } );",
                "exports = ( { prefix = \"/\"; path = \"/x\"; allow_uids = [ ]; } );",
                BASE " allow_gids = [ 1 ]; } );",
                BASE " follow_symlinks = true; } );",
                BASE " }, { prefix = \"/b/\"; path = \"/x\"; } );",
                BASE " } ); index = { scan = false; };",
                BASE " } ); index = { watch = false; };",
        };
        struct config *a = accepted(base), *b = accepted("log = { level = \"error\"; };\n" BASE " } );");

        assert_true(config_same_store(a, b));
        config_free(b);
        for (size_t i = 0; i < objm_array_len(other); i++) {
                b = accepted(other[i]);
                assert_false(config_same_store(a, b));
                assert_false(config_same_store(b, a));
                config_free(b);
        }
        config_free(a);
        config_free(NULL);
}

static int make_dir(void **state)
{
        if (!mkdtemp(dir))
                return -1;
        snprintf(path, sizeof(path), "%s/t.conf", dir);
        return 0;
}

static int remove_dir(void **state)
{
        char level[PATH_MAX];

        snprintf(level, sizeof(level), "%s/level.conf", dir);
        unlink(level);
        unlink(path);
        return rmdir(dir);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(empty_file_means_defaults),
                cmocka_unit_test(the_installed_file_stands_at_the_defaults),
                cmocka_unit_test(every_key_is_read),
                cmocka_unit_test(wrong_keys_and_types_are_named),
                cmocka_unit_test(values_have_ranges),
                cmocka_unit_test(later_features_are_not_taken_silently),
                cmocka_unit_test(endpoints_are_addresses_or_paths),
                cmocka_unit_test(rings_have_bounds),
                cmocka_unit_test(bad_tcp_entries_are_named),
                cmocka_unit_test(tcp_entries_are_taken),
                cmocka_unit_test(udp_sockets_have_address_and_port),
                cmocka_unit_test(bad_listen_entries_are_named),
                cmocka_unit_test(bad_exports_are_named),
                cmocka_unit_test(integers_over_32_bits_do_not_wrap),
                cmocka_unit_test(includes_are_followed),
                cmocka_unit_test(bad_includes_are_errors),
                cmocka_unit_test(unreadable_files_are_errors),
                cmocka_unit_test(garbage_is_survived),
                cmocka_unit_test(command_line_wins),
                cmocka_unit_test(tcp_of_the_command_line_replaces_listen),
                cmocka_unit_test(bad_command_line_values_are_named),
                cmocka_unit_test(same_store_sees_every_difference),
        };

        return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
