/* SPDX-License-Identifier: MIT */
/*
 * The server's end of a ring over a request memory whose words change while it is served: the input is a sequence of
 * writes to that memory and of turns. Whatever is written, nothing outside is touched, a turn takes no more than there
 * are places, and an index that is believed was possible.
 */
#include "fuzz.h"
#include "base/fd.h"
#include "transport/ring_server.h"
#include <sys/mman.h>

#define ENTRIES 8
#define ARENA   8192

struct input {
        const uint8_t *at, *end;
};

static uint32_t next(struct input *in, unsigned bytes)
{
        uint32_t v = 0;

        for (; bytes && in->at < in->end; bytes--)
                v = v << 8 | *in->at++;
        return v;
}

/* The words that matter, entries, and the two ends of the arena. */
static void write_somewhere(uint8_t *m, struct input *in, uint8_t how)
{
        static const uint16_t words[] = {0, 4, 64, 128};
        uint32_t size = objm_ring_memory_size(&(struct objm_ring_geometry){ENTRIES, ARENA}), at, v;

        if (how & 1) {
                at = OBJM_RING_ENTRIES_AT + next(in, 2) % (ENTRIES * 64);
                m[at] = (uint8_t)next(in, 1);
                return;
        }
        at = how & 2 ? words[how >> 2 & 3] : next(in, 2) * 4 % size;
        v = next(in, how & 16 ? 1 : 4);
        memcpy(m + at, &v, sizeof(v));
}

static void serve_one(struct objm_ring_server *s, uint8_t *m, struct input *in)
{
        struct objm_ring_reply r = {0};
        union objm_ring_copy copy;
        const struct objm_ring_request *rq = &copy.request;
        uint8_t buf[OBJM_URI_MAX], *body;
        const uint8_t *uri;

        objm_ring_server_copy(s, 0, &copy);
        objm_ring_server_pass(s);
        write_somewhere(m, in, (uint8_t)next(in, 1)); /* between the look and the use */
        if (objm_ring_server_uri(s, rq, buf, &uri)) {
                volatile uint8_t sum = 0;

                FUZZ_CHECK(rq->uri_len <= OBJM_URI_MAX);
                for (unsigned i = 0; i < rq->uri_len; i++)
                        sum += uri[i];
        }
        r.body_len = next(in, 2) % (ARENA + 1);
        body = r.body_len ? objm_ring_server_body(s, r.body_len, &r.body_at) : NULL;
        if (body) {
                FUZZ_CHECK(r.body_at <= ARENA - r.body_len);
                memset(body, 1, r.body_len);
        }
        objm_ring_server_put(s, &r);
}

/* False: the connection would end. */
static int turn(struct objm_ring_server *s, uint8_t *m, struct input *in)
{
        struct objm_ring_mark mark = objm_ring_server_mark(s);
        int n = objm_ring_server_readable(s), room;

        if (n < 0)
                return 0;
        FUZZ_CHECK(n <= ENTRIES);
        room = objm_ring_server_room(s, ENTRIES);
        if (room < 0)
                return 0;
        FUZZ_CHECK(room <= ENTRIES);
        for (int i = 0; i < n && i < room; i++)
                serve_one(s, m, in);
        if (next(in, 1) & 1)
                objm_ring_server_rewind(s, &mark);
        (void)!objm_ring_server_publish(s);
        return objm_ring_server_sleep(s) >= 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        const struct objm_ring_geometry g = {ENTRIES, ARENA};
        struct input in = {data, data + size};
        struct objm_ring_server s;
        int fds[2], open = 1;
        uint8_t *m;

        FUZZ_CHECK(objm_ring_server_init(&s, &g, fds) == 0);
        m = mmap(NULL, objm_ring_memory_size(&g), PROT_READ | PROT_WRITE, MAP_SHARED, fds[0], 0);
        FUZZ_CHECK(m != MAP_FAILED);
        objm_fd_close_many(fds, 2);
        while (open && in.at < in.end) {
                uint8_t how = (uint8_t)next(&in, 1);

                if (how & 0x80)
                        open = turn(&s, m, &in);
                else if ((how & 0x7f) == 0x7f)
                        (void)!objm_ring_server_end(&s);
                else
                        write_somewhere(m, &in, how);
        }
        munmap(m, objm_ring_memory_size(&g));
        objm_ring_server_deinit(&s);
        return 0;
}
