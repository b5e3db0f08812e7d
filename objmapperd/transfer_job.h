/* SPDX-License-Identifier: MIT */
#ifndef OBJMAPPERD_TRANSFER_JOB_H
#define OBJMAPPERD_TRANSFER_JOB_H
/*
 * A connection that is lent, on its way: from its worker to the pool or to an escort, between these, and back by mail.
 * It is one thread's at a time, and so is the socket; whoever passes it on does not look at it again.
 */
#include "concurrency/pool.h"
#include "objmapperd/connection.h"
#include "objmapperd/metrics.h"
#include "transport/body.h"

#define TRANSFER_PIECE (64 * 1024) /* of the file, a call */
#define TRANSFER_PAGE  4096

/* The head, if it is still to leave, goes right before the piece: pages of the file are copied to whole pages. */
struct transfer_buffer {
        _Alignas(TRANSFER_PAGE) uint8_t bytes[TRANSFER_PAGE + TRANSFER_PIECE];
};

struct transfer {
        struct objm_pool_source source; /* of the pool */
        struct objm_job escorted;       /* of an escort */
        struct objm_mail mail;
        struct connection *c;
        struct objm_body body; /* fd -1: the request has not been run yet, or there is none */
        struct request rq;
        struct reply reply;    /* has_reply: something else came of it than a body */
        bool has_reply;
        bool cold;             /* may wait for the disk when it runs next in the pool */
        bool alone;            /* no other request had come: an escort may look for the next */
        bool counted;          /* as a body, in the server */
        bool lent_fd;          /* body.fd is one of the escort's kept ones */
        bool end_of_input;     /* that an escort has met */
        bool slow;             /* the client has paused */
        uint8_t prompt;        /* short waits of the pool, one after the other */
        uint32_t in_len;       /* input that an escort has read and the worker is to work on */
        uint8_t *in;
        uint32_t bodies;       /* that have left */
        bool uncounted;        /* the last of them is not in the metrics yet */
        bool cut;              /* one has left in part */
        int result;
        struct metrics_record record; /* of the body */
        uint64_t received_ns, posted_ns;
        uint64_t waits_since;  /* ns, the pool's; 0: does not wait */
        int64_t window_start;  /* bytes taken by then, less those that were unread when it was lent; the worker's */
        _Atomic uint64_t sent;
        bool run;              /* the pool has had it */
        _Atomic uint64_t begun_ns; /* when it did, or before that when it was lent */
        uint8_t uri[];
};

/* Takes r->fd, which is to be sent; what is kept stays the escort's until transfer_end_body(). */
void transfer_begin(struct transfer *t, struct reply *r);

/* Goes on with the body. As objm_body_send(). */
int transfer_step(struct transfer *t, size_t quantum, bool nowait, struct transfer_buffer *buf) objm_must_check;

/* One body has left, all of it. */
void transfer_end_body(struct transfer *t);

/*
 * Gives the connection back to its worker. @result 0: it lives on, else it is to be closed. The reader, which goes
 * online, keeps the worker's memory while it is told.
 */
void transfer_finish(struct transfer *t, struct objm_qsbr_reader *r, int result);

/* The same after a failure; as long as nothing of the body has left, an unreadable file is no reason to close. */
void transfer_fail(struct transfer *t, struct objm_qsbr_reader *r, int error);

/* A job of the pool: goes on until the socket is full, others wait for the thread, or all is done. */
void transfer_run(struct objm_job *job, struct objm_qsbr_reader *reader);

/* From any thread that has it: leaves it to the pool once the socket takes more. */
void transfer_wait(struct transfer *t, struct objm_qsbr_reader *reader);

/* The same: leaves it to the pool now. */
void transfer_pass(struct transfer *t, struct objm_qsbr_reader *reader, bool cold);

#endif
