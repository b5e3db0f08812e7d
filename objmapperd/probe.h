/* SPDX-License-Identifier: MIT */
#ifndef OBJMAPPERD_PROBE_H
#define OBJMAPPERD_PROBE_H
/*
 * Where a tracer (bpftrace, perf, SystemTap, gdb) may look on: probes of provider "objmapperd", described in
 * objmapperd(8). While nobody looks each is one nop; without <sys/sdt.h> at build time there are none.
 *
 * Each request starts once, whatever number of times it is run, and once its reply has left it ends, once; between the
 * two a ring may refer it to the socket, where it starts anew.
 */
#include "objmapperd/metrics.h"
#include "objmapperd/request.h"

#if __has_include(<sys/sdt.h>)
#include <sys/sdt.h>
#else
#define DTRACE_PROBE1(provider, name, a) ((void)(a))
#define DTRACE_PROBE6(provider, name, a, b, c, d, e, f) \
        ((void)(a), (void)(b), (void)(c), (void)(d), (void)(e), (void)(f))
#endif

/* It has been received; rq->uri is not terminated. */
static inline void probe_request_start(enum metrics_transport transport, const struct request *rq)
{
        DTRACE_PROBE6(objmapperd, request__start, transport, rq->op, rq->mode, rq->uri, rq->uri_len, rq->id);
}

/* Its reply has left, @ns after it was received. */
static inline void probe_request_end(enum metrics_transport transport, const struct metrics_record *r, uint64_t ns)
{
        DTRACE_PROBE6(objmapperd, request__end, transport, r->mode, r->status, r->bytes, ns, r->id);
}

/* The ring has told the client to ask by the socket. */
static inline void probe_request_refer(const struct request *rq)
{
        DTRACE_PROBE1(objmapperd, request__refer, rq->id);
}

#endif
