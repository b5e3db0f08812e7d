/* SPDX-License-Identifier: MIT */
/*
 * The input as a configuration file. It is taken whole, or refused with a message; what is taken can be used.
 */
#include "fuzz.h"
#include "objmapperd/config.h"
#include "transport/inet.h"
#include <sys/mman.h>
#include <unistd.h>

/* libconfig 1.5 does not free the text of a string at which its parser gives up (strbuf_append, libconfig_yylex). */
__attribute__((visibility("default"))) const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
        return "leak:strbuf_append\nleak:libconfig_yylex\n";
}

static void check_usable(const struct config *c)
{
        FUZZ_CHECK(c->n_listen > 0 && c->n_exports > 0);
        for (size_t i = 0; i < c->n_listen; i++) {
                const struct config_listen *l = &c->listen[i];
                struct objm_inet addr;

                if (l->transport == CONFIG_TRANSPORT_UNIX)
                        FUZZ_CHECK(l->path != NULL && l->path[0] != '\0');
                else
                        FUZZ_CHECK(!l->path && objm_inet_parse(config_listen_address(l), l->port, &addr) == 0);
        }
        for (size_t i = 0; i < c->n_exports; i++) {
                const char *prefix = c->exports[i].prefix;

                FUZZ_CHECK(prefix != NULL && prefix[0] != '\0' && prefix[strlen(prefix) - 1] == '/');
                FUZZ_CHECK(c->exports[i].path != NULL && c->exports[i].path[0] != '\0');
        }
        FUZZ_CHECK(c->model >= CONFIG_MODEL_THREAD_POOL && c->model <= CONFIG_MODEL_THREAD_PER_REQUEST);
        FUZZ_CHECK(c->uri_length >= 1 && c->uri_length <= 4096);
        FUZZ_CHECK(c->in_flight >= 1 && c->max_connections >= 1);
        FUZZ_CHECK(config_same_store(c, c));
}

static void load(const char *path)
{
        const struct options o = {.config_path = path, .model = -1, .pool_size = -1, .copy_pool_size = -1};
        struct config_error err;
        struct config *c = NULL;

        if (config_load(&o, &c, &err) < 0) {
                FUZZ_CHECK(c == NULL);
                FUZZ_CHECK(err.text[0] != '\0' && memchr(err.text, '\0', sizeof(err.text)) != NULL);
                return;
        }
        check_usable(c);
        config_free(c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static int fd = -1;
        char path[32];

        if (memmem(data, size, "@include", 8) != NULL)
                return 0; /* what other files say is no property of the input */
        if (fd < 0)
                fd = memfd_create("config", MFD_CLOEXEC);
        FUZZ_CHECK(fd >= 0 && ftruncate(fd, 0) == 0 && pwrite(fd, data, size, 0) == (ssize_t)size);
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        load(path);
        return 0;
}
