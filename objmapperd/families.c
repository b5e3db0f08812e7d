/* SPDX-License-Identifier: MIT */
#include "objmapperd/families.h"

#include "objmapperd/clients.h"
#include "objmapperd/log_refused.h"
#include "protocol/status.h"

#include <string.h>

#define FAMILY(s, name, type, unit, help) sink_family(s, &(const struct sink_family){name, help, type, unit})

static void labelled(struct sink *s, const char *label, const char *value, uint64_t number)
{
        sink_sample(s, (struct sink_label[]){{label, value}, {NULL, NULL}}, number);
}

static void each(struct sink *s, const char *label, const char *const *names, const _Atomic uint64_t *numbers,
                 unsigned n)
{
        for (unsigned i = 0; i < n; i++)
                labelled(s, label, names[i], objm_tally_get(&numbers[i]));
}

static void one(struct sink *s, uint64_t number)
{
        sink_sample(s, NULL, number);
}

static void histogram(struct sink *s, _Atomic(struct objm_tally *) *at)
{
        static const struct objm_tally nothing;
        struct objm_tally *t = atomic_load_explicit(at, memory_order_relaxed);

        sink_histogram(s, NULL, t ? t : &nothing);
}

/* ---- requests ---- */

/* "not_found": the status's text as a word. */
static const char *status_name(unsigned index, char buf[32])
{
        size_t i = 0;

        if (metrics_statuses[index] == UINT8_MAX)
                return "other";
        for (const char *t = objm_status_text(metrics_statuses[index]); *t && i < 31; t++)
                buf[i++] = *t == ' ' ? '_' : *t >= 'A' && *t <= 'Z' ? (char)(*t + 'a' - 'A') : *t;
        buf[i] = '\0';
        return buf;
}

typedef void (*class_fn)(struct sink *s, struct sink_label *labels, const struct metrics_class *c);

/* The first two labels are set; the third is free. */
static void each_class(const struct stats *st, struct sink *s, class_fn fn)
{
        for (unsigned t = 0; t < METRICS_N_TRANSPORTS; t++) {
                for (unsigned m = 0; m < METRICS_N_MODES; m++) {
                        struct metrics_class *c = atomic_load_explicit(&st->sum.class[t][m], memory_order_relaxed);
                        struct sink_label labels[SINK_LABELS_MAX] = {{"transport", metrics_transport_names[t]},
                                                                     {"mode", metrics_mode_names[m]}};

                        if (c)
                                fn(s, labels, c);
                }
        }
}

static void requests(struct sink *s, struct sink_label *labels, const struct metrics_class *c)
{
        char buf[32];

        for (unsigned i = 0; i < METRICS_N_STATUSES; i++) {
                uint64_t n = objm_tally_get(&c->requests[i]);

                labels[2] = (struct sink_label){"status", status_name(i, buf)};
                if (n)
                        sink_sample(s, labels, n);
        }
}

static void bytes(struct sink *s, struct sink_label *labels, const struct metrics_class *c)
{
        sink_sample(s, labels, objm_tally_get(&c->bytes));
}

static void latency(struct sink *s, struct sink_label *labels, const struct metrics_class *c)
{
        sink_histogram(s, labels, &c->latency);
}

static void quantiles(struct sink *s, struct sink_label *labels, const struct metrics_class *c)
{
        static const struct {
                const char *text;
                double q;
        } all[] = {{"0.5", 0.5}, {"0.99", 0.99}, {"0.999", 0.999}};

        for (unsigned i = 0; i < objm_array_len(all); i++) {
                labels[2] = (struct sink_label){"quantile", all[i].text};
                sink_sample(s, labels, objm_tally_quantile(&c->latency, all[i].q));
        }
}

static void write_requests(struct stats *st, struct sink *s)
{
        FAMILY(s, "requests", SINK_COUNTER, SINK_NUMBER,
               "Requests answered, by how the object came or what was asked.");
        each_class(st, s, requests);
        FAMILY(s, "request_duration_seconds", SINK_HISTOGRAM, SINK_NS,
               "From when a request was received until its reply had left; by ring, of a sample.");
        each_class(st, s, latency);
        FAMILY(s, "request_quantile_seconds", SINK_GAUGE, SINK_NS, "Quantiles of the same, since the start.");
        each_class(st, s, quantiles);
        FAMILY(s, "body_bytes", SINK_COUNTER, SINK_BYTES, "Bytes of objects sent; none for descriptors.");
        each_class(st, s, bytes);
        FAMILY(s, "object_size_bytes", SINK_HISTOGRAM, SINK_BYTES, "Size of each object that was handed out.");
        histogram(s, &st->sum.object_size);
        FAMILY(s, "fallbacks", SINK_COUNTER, SINK_NUMBER, "Requests that took another way than the shortest, and why.");
        each(s, "reason", metrics_fallback_names, st->sum.fallbacks, METRICS_N_FALLBACKS);
        FAMILY(s, "datagrams_dropped", SINK_COUNTER, SINK_NUMBER, "Datagrams without an answer, and why.");
        each(s, "reason", metrics_drop_names, st->sum.drops, METRICS_N_DROPS);
}

/* ---- connections ---- */

static void write_connections(struct stats *st, struct sink *s)
{
        const struct metrics *m = &st->sum;

        FAMILY(s, "connections_open", SINK_GAUGE, SINK_NUMBER, "Connections by transport.");
        for (unsigned t = METRICS_UNIX; t <= METRICS_TCP; t++)
                labelled(s, "transport", metrics_transport_names[t],
                         objm_tally_get(&m->opened[t]) - objm_tally_get(&m->closed[t]));
        FAMILY(s, "connections_opened", SINK_COUNTER, SINK_NUMBER, "Connections ever.");
        for (unsigned t = METRICS_UNIX; t <= METRICS_TCP; t++)
                labelled(s, "transport", metrics_transport_names[t], objm_tally_get(&m->opened[t]));
        FAMILY(s, "rings_open", SINK_GAUGE, SINK_NUMBER, "Rings of connections, also those being made.");
        one(s, st->rings);
        FAMILY(s, "ring_doorbells", SINK_COUNTER, SINK_NUMBER, "Times clients woke the daemon to look at their ring.");
        one(s, objm_tally_get(&m->doorbells));
        FAMILY(s, "ring_wakes", SINK_COUNTER, SINK_NUMBER, "Times the daemon woke a client to look at its ring.");
        one(s, objm_tally_get(&m->wakes));
        FAMILY(s, "connections_hot", SINK_GAUGE, SINK_NUMBER, "Connections that had a reply in the last second.");
        one(s, st->connections_hot);
        FAMILY(s, "connections_idle", SINK_GAUGE, SINK_NUMBER, "The other connections.");
        one(s, st->connections > st->connections_hot ? st->connections - st->connections_hot : 0);
        FAMILY(s, "connections_max", SINK_GAUGE, SINK_NUMBER, "How many connections there may be.");
        one(s, st->connections_max);
        FAMILY(s, "refused", SINK_COUNTER, SINK_NUMBER, "Clients refused or cut off, and why.");
        for (unsigned i = 0; i < LOG_N_REFUSALS; i++)
                labelled(s, "reason", log_refusal_name(i), log_refused_count(i));
        FAMILY(s, "connection_requests", SINK_HISTOGRAM, SINK_NUMBER, "Requests of each connection that has ended.");
        histogram(s, &st->sum.conversation);
        FAMILY(s, "connection_handover_seconds", SINK_HISTOGRAM, SINK_NS, "From the accept thread to the worker.");
        histogram(s, &st->sum.arrival);
}

/* ---- threads ---- */

static void write_workers(struct stats *st, struct sink *s)
{
        FAMILY(s, "workers", SINK_GAUGE, SINK_NUMBER, "Worker threads by what they are doing.");
        for (unsigned i = 0; i < METRICS_N_STATES; i++)
                labelled(s, "state", metrics_state_names[i], st->sum.in_state[i]);
        FAMILY(s, "worker_seconds", SINK_COUNTER, SINK_NS, "Time of all workers, by what they did.");
        each(s, "state", metrics_state_names, st->sum.time, METRICS_N_STATES);
        FAMILY(s, "worker_turns", SINK_COUNTER, SINK_NUMBER, "Times a worker looked at all of its connections.");
        one(s, objm_tally_get(&st->sum.turns));
        FAMILY(s, "worker_queue_connections", SINK_HISTOGRAM, SINK_NUMBER,
               "Connections with something to do in a turn that had any.");
        histogram(s, &st->sum.ready);
        FAMILY(s, "worker_wait_seconds", SINK_HISTOGRAM, SINK_NS,
               "How long a connection with something to do waited while its worker served others.");
        histogram(s, &st->sum.wait);
}

static void write_pool(struct stats *st, struct sink *s)
{
        const struct objm_pool_counts *p = &st->pool;

        FAMILY(s, "pool_threads", SINK_GAUGE, SINK_NUMBER, "Threads for work that may wait for a disk.");
        labelled(s, "state", "busy", p->busy);
        labelled(s, "state", "idle", p->threads - p->busy);
        FAMILY(s, "pool_queue_jobs", SINK_GAUGE, SINK_NUMBER, "Jobs that wait for such a thread.");
        labelled(s, "lane", "request", p->requests);
        labelled(s, "lane", "cold", p->cold);
        labelled(s, "lane", "background", p->background);
        FAMILY(s, "pool_jobs", SINK_COUNTER, SINK_NUMBER, "Jobs that have been run.");
        one(s, p->jobs);
        FAMILY(s, "pool_refused", SINK_COUNTER, SINK_NUMBER, "Jobs refused because too many waited.");
        one(s, p->full);
        FAMILY(s, "pool_work_seconds", SINK_COUNTER, SINK_NS, "Time of all such threads in jobs.");
        one(s, p->work_ns);
        FAMILY(s, "pool_wait_seconds", SINK_HISTOGRAM, SINK_NS, "Time of each job in the queue, but of scans.");
        sink_histogram(s, NULL, &p->wait);
        FAMILY(s, "handover_seconds", SINK_HISTOGRAM, SINK_NS, "From the end of a job until its worker took it back.");
        histogram(s, &st->sum.handover);
        FAMILY(s, "bodies_open", SINK_GAUGE, SINK_NUMBER, "Objects being sent by the pool.");
        one(s, st->bodies);
        FAMILY(s, "bodies_max", SINK_GAUGE, SINK_NUMBER, "How many of these there may be.");
        one(s, st->bodies_max);
        FAMILY(s, "bodies_cut_off", SINK_COUNTER, SINK_NUMBER, "Objects not sent to their end.");
        one(s, objm_tally_get(&st->sum.cut_off));
}

/* ---- the rest ---- */

static void write_index(struct stats *st, struct sink *s)
{
        const struct objm_store_counts *n = &st->index;

        FAMILY(s, "index_objects", SINK_GAUGE, SINK_NUMBER, "Names in the index.");
        one(s, n->objects);
        FAMILY(s, "index_hits", SINK_COUNTER, SINK_NUMBER,
               "Look-ups that the index answered; from 0 after a reload of exports.");
        one(s, n->hits);
        FAMILY(s, "index_misses", SINK_COUNTER, SINK_NUMBER, "Look-ups that went to the tree.");
        one(s, n->misses);
        FAMILY(s, "index_dropped", SINK_COUNTER, SINK_NUMBER, "Names dropped because their file had gone.");
        one(s, n->dropped);
        FAMILY(s, "index_watches", SINK_GAUGE, SINK_NUMBER, "Directories watched for change.");
        one(s, n->watches);
        FAMILY(s, "index_scanning", SINK_GAUGE, SINK_NUMBER, "1 while the exports are being scanned.");
        one(s, n->scanning);
        FAMILY(s, "index_in_step", SINK_GAUGE, SINK_NUMBER, "1 while every change of the exports is noticed.");
        one(s, n->in_step);
}

static void write_daemon(struct stats *st, struct sink *s)
{
        FAMILY(s, "build_info", SINK_GAUGE, SINK_NUMBER, "1, with the version.");
        labelled(s, "version", OBJM_VERSION, 1);
        FAMILY(s, "uptime_seconds", SINK_GAUGE, SINK_NS, "Time since the start.");
        one(s, st->uptime_ns);
        FAMILY(s, "draining", SINK_GAUGE, SINK_NUMBER, "1 while the daemon ends.");
        one(s, st->draining);
        FAMILY(s, "metrics_lost", SINK_COUNTER, SINK_NUMBER, "Values not counted for want of memory.");
        one(s, objm_tally_get(&st->sum.lost));
}

void families_write(struct stats *st, struct sink *s)
{
        write_requests(st, s);
        write_connections(st, s);
        write_workers(st, s);
        write_pool(st, s);
        write_index(st, s);
        write_daemon(st, s);
}

typedef uint64_t (*client_fn)(const struct client *c);

static uint64_t client_requests(const struct client *c)
{
        return c->requests;
}

static uint64_t client_bytes(const struct client *c)
{
        return c->bytes;
}

static uint64_t client_open(const struct client *c)
{
        return c->open_ns;
}

static uint64_t client_idle(const struct client *c)
{
        return c->idle_ns;
}

static void each_client(const struct client *clients, size_t n, struct sink *s, client_fn fn)
{
        for (size_t i = 0; i < n; i++) {
                char number[24], uid[16] = "";

                snprintf(number, sizeof(number), "%zu", i);
                if (!clients[i].tcp)
                        snprintf(uid, sizeof(uid), "%u", clients[i].uid);
                sink_sample(s, (struct sink_label[SINK_LABELS_MAX]){
                        {"client", number}, {"transport", clients[i].tcp ? "tcp" : "unix"}, {"uid", uid},
                        {"waits", client_waits_name(clients[i].waits)}}, fn(&clients[i]));
        }
}

void families_write_clients(const struct client *clients, size_t n, struct sink *s)
{
        FAMILY(s, "client_requests", SINK_GAUGE, SINK_NUMBER, "Requests answered on a connection.");
        each_client(clients, n, s, client_requests);
        FAMILY(s, "client_body_bytes", SINK_GAUGE, SINK_BYTES, "Bytes of objects sent on it.");
        each_client(clients, n, s, client_bytes);
        FAMILY(s, "client_open_seconds", SINK_GAUGE, SINK_NS, "How long it has been open.");
        each_client(clients, n, s, client_open);
        FAMILY(s, "client_idle_seconds", SINK_GAUGE, SINK_NS, "Time since its last reply.");
        each_client(clients, n, s, client_idle);
}
