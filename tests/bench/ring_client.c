/* SPDX-License-Identifier: MIT */
/*
 * A client of the daemon by libobjmapper and its ring, over a tree of make_tree. Prints one line of JSON.
 *
 *      ring_client SOCKET stat|read DEPTH SECONDS spin|sleep OBJECTS RATE CPU
 *
 * Each request is for one of the first OBJECTS at random: one call after the other, or with a DEPTH above 1 as many in
 * flight by the submit calls. read: the object is read into memory and every byte of it looked at.
 * RATE 0: at once after each other; else as many a second at even distances, and latency counts from when a request
 * was due.
 */
#include "client/objmapper.h"
#include "ping.h"

#include <stdbool.h>
#include <string.h>

#define BODY      1024
#define DEPTH_MAX 256

static struct objmapper *om;
static unsigned depth, objects, in_flight;
static bool reads;
static double rate;
static volatile uint64_t sink;
static uint64_t body[DEPTH_MAX][BODY / sizeof(uint64_t)];
static unsigned free_body[DEPTH_MAX], n_free;

static void give_up(const char *what, int r)
{
        fprintf(stderr, "%s: %s\n", what, strerror(-r));
        exit(1);
}

static const char *any_uri(void)
{
        static uint64_t random = 88172645463325252;
        static char uri[] = "/000/000";
        unsigned n;

        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        n = (unsigned)(random % objects);
        for (int at = 7; at > 0; at--) {
                if (at == 4)
                        continue;
                uri[at] = (char)('0' + n % 10);
                n /= 10;
        }
        return uri;
}

static void look_at(const uint64_t *p, ssize_t n)
{
        uint64_t x = 0;

        if (n != BODY)
                give_up("read", n < 0 ? (int)n : 0);
        for (size_t i = 0; i < BODY / sizeof(*p); i++)
                x ^= p[i];
        sink = x;
}

static void read_one(void)
{
        look_at(body[0], objmapper_read(om, any_uri(), body[0], BODY, NULL, NULL));
}

static void stat_one(void)
{
        struct objmapper_object object;
        int r = objmapper_stat(om, any_uri(), &object);

        if (r < 0)
                give_up("stat", r);
        sink = object.size;
}

static int submit_read(void)
{
        unsigned i = free_body[--n_free];

        return objmapper_submit_read(om, any_uri(), 8, body[i], BODY, NULL, i);
}

static void take(const struct objmapper_completion *c)
{
        if (!reads && c->result < 0)
                give_up("stat", c->result);
        if (!reads)
                return;
        look_at(body[c->user_data], c->result);
        free_body[n_free++] = (unsigned)c->user_data;
}

static unsigned many(void)
{
        struct objmapper_completion done[64];
        int r;

        for (; in_flight < depth; in_flight++) {
                r = reads ? submit_read() : objmapper_submit_stat(om, any_uri(), 8, 0);
                if (r < 0)
                        give_up("submit", r);
        }
        r = objmapper_wait(om, done, sizeof(done) / sizeof(*done), 2000);
        if (r <= 0)
                give_up("wait", r);
        for (int i = 0; i < r; i++)
                take(&done[i]);
        in_flight -= (unsigned)r;
        return (unsigned)r;
}

/*
 * Where waking up takes longer than either side polls, two that sleep never learn that polling would pay. With many in
 * flight both find something each time, and go on polling when it is one at a time.
 */
static void begin_polling(void)
{
        struct objmapper_completion done[64];
        unsigned wanted = depth;
        uint64_t end = now() + 200000000;

        for (depth = 32; now() < end;)
                many();
        while (in_flight) {
                int r = objmapper_wait(om, done, sizeof(done) / sizeof(*done), 2000);

                if (r <= 0)
                        give_up("wait", r);
                for (int i = 0; i < r; i++)
                        take(&done[i]);
                in_flight -= (unsigned)r;
        }
        depth = wanted;
}

static unsigned once(void)
{
        if (depth > 1)
                return many();
        if (reads)
                read_one();
        else
                stat_one();
        return 1;
}

int main(int argc, char **argv)
{
        struct objmapper_options o = {.size = sizeof(o), .flags = OBJMAPPER_RING | OBJMAPPER_NO_RECONNECT};
        int r;

        if (argc != 9) {
                fprintf(stderr, "usage: ring_client SOCKET stat|read DEPTH SECONDS spin|sleep OBJECTS RATE CPU\n");
                return 2;
        }
        reads = !strcmp(argv[2], "read");
        depth = (unsigned)strtoul(argv[3], NULL, 10);
        o.flags |= strcmp(argv[5], "spin") ? OBJMAPPER_NO_SPIN : 0;
        objects = (unsigned)strtoul(argv[6], NULL, 10);
        rate = strtod(argv[7], NULL);
        if (!objects || !depth || depth > DEPTH_MAX)
                return 2;
        while (n_free < DEPTH_MAX) {
                free_body[n_free] = n_free;
                n_free++;
        }
        r = objmapper_connect(argv[1], &o, &om); /* before pinning: it must not think that there is one CPU */
        if (r < 0)
                give_up(argv[1], r);
        if (strcmp(argv[8], "-"))
                pin_to(argv[8]);
        if (!(o.flags & OBJMAPPER_NO_SPIN))
                begin_polling();
        if (rate > 0)
                measure_at_rate(once, strtod(argv[4], NULL), rate);
        else
                measure_rounds(once, strtod(argv[4], NULL));
        objmapper_free(om);
        return 0;
}
