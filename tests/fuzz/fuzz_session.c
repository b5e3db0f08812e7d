/* SPDX-License-Identifier: MIT */
/*
 * A whole stream of a client, as the daemon reads it: the first byte picks the dialect, then requests follow each
 * other. How the bytes are cut into reads must not matter: the stream is read at once and in pieces, and both must
 * find the same requests. Every request is answered, and the answer must decode to what was put in.
 *
 * The first byte of the input seeds the sizes of the pieces; the rest is the stream.
 */
#include "fuzz.h"
#include "objmapperd/dialect.h"
#include "protocol/v1.h"
#include "protocol/v3.h"

struct stream {
        const uint8_t *data;
        size_t len, at; /* bytes there, and of those worked on */
        const struct dialect *dialect;
        uint64_t digest; /* of all requests */
        unsigned n;
        uint8_t refused; /* status that ended it */
};

static void digest(struct stream *s, const void *data, size_t len)
{
        const uint8_t *p = data;

        for (size_t i = 0; i < len; i++)
                s->digest = (s->digest ^ p[i]) * UINT64_C(0x100000001b3);
}

static void digest_request(struct stream *s, const struct request *rq)
{
        const uint64_t fields[] = {rq->op, rq->mode, rq->status, rq->id, rq->uri_len, rq->conditional,
                                   rq->want_metadata, rq->if_version};

        digest(s, fields, sizeof(fields));
        digest(s, rq->uri, rq->uri_len);
        s->n++;
}

static void check_v1(const struct objm_batch *b, const struct reply *r)
{
        struct objm_v1_response got;
        size_t used;

        FUZZ_CHECK(objm_v1_response_decode(b->data, b->len, &got, &used) == OBJM_DECODE_OK);
        FUZZ_CHECK(used == b->len && got.status == r->status && got.content_len == 0 && got.metadata_len > 0);
}

static void check_v3(const struct objm_batch *b, const struct reply *r)
{
        struct objm_v3_response got;
        size_t used;

        FUZZ_CHECK(objm_v3_response_decode(b->data, b->len, &got, &used) == OBJM_DECODE_OK);
        FUZZ_CHECK(used == b->len && got.status == r->status && got.id == r->id && got.op == r->op);
        FUZZ_CHECK(got.n_fds == 0 && got.body_len == 0 && got.size == r->info.size);
        FUZZ_CHECK((got.metadata_len > 0) == r->want_metadata);
}

static void answer(const struct stream *s, const struct request *rq)
{
        static struct objm_batch batch;
        struct reply r = {
                .op = rq->op, .mode = rq->mode, .id = rq->id, .fd = -1, .want_metadata = rq->want_metadata,
                .status = rq->status ? rq->status : rq->uri_len & 1 ? OBJM_STATUS_NOT_FOUND : OBJM_STATUS_OK,
                .info = {.size = rq->if_version, .version = 1, .mtime_ns = (int64_t)rq->if_version},
        };

        batch.len = 0;
        dialect_put(s->dialect, &batch, &r);
        FUZZ_CHECK(batch.len <= DIALECT_REPLY_MAX && batch.n_fds == 0);
        if (s->dialect == &dialect_v1)
                check_v1(&batch, &r);
        else
                check_v3(&batch, &r);
}

/* The first byte decides; version 3 begins with a hello. */
static enum objm_decode begin(struct stream *s)
{
        struct objm_v3_hello hello;
        enum objm_decode d;
        size_t used;

        if (s->len == 0)
                return OBJM_DECODE_MORE;
        if (s->data[0] != 'O') {
                s->dialect = &dialect_v1;
                return OBJM_DECODE_OK;
        }
        d = objm_v3_hello_decode(s->data, s->len, &hello, &used);
        if (d == OBJM_DECODE_BAD)
                s->refused = hello.status;
        if (d != OBJM_DECODE_OK)
                return d;
        digest(s, &hello.capabilities, sizeof(hello.capabilities));
        s->dialect = &dialect_v3;
        s->at = used;
        return d;
}

static enum objm_decode step(struct stream *s)
{
        struct request rq;
        enum objm_decode d;
        size_t used;

        if (s->dialect == NULL)
                return begin(s);
        d = s->dialect->next(s->data + s->at, s->len - s->at, &rq, &used);
        if (d == OBJM_DECODE_MORE) {
                FUZZ_CHECK(used > s->len - s->at && used <= OBJM_V3_REQUEST_MAX);
                return d;
        }
        if (d == OBJM_DECODE_BAD) {
                FUZZ_CHECK(rq.status != OBJM_STATUS_OK);
                s->refused = rq.status;
        } else {
                FUZZ_CHECK(fuzz_inside(rq.uri, rq.uri_len, s->data + s->at, used));
                digest_request(s, &rq);
                s->at += used;
        }
        answer(s, &rq);
        return d;
}

/* @len bytes of the stream are there now. */
static void read_up_to(struct stream *s, size_t len)
{
        s->len = len;
        while (!s->refused && step(s) == OBJM_DECODE_OK)
                ;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct stream whole = {.data = data + 1}, pieces = {.data = data + 1};
        uint32_t random;

        if (size == 0)
                return 0;
        random = data[0];
        read_up_to(&whole, size - 1);
        for (size_t len = 0; len < size - 1;) {
                random = random * 1664525 + 1013904223;
                len += 1 + (random >> 16) % (data[0] < 128 ? 7 : 97);
                read_up_to(&pieces, len < size - 1 ? len : size - 1);
        }
        FUZZ_CHECK(whole.n == pieces.n && whole.digest == pieces.digest);
        FUZZ_CHECK(whole.refused == pieces.refused);
        FUZZ_CHECK(whole.refused || whole.at == pieces.at);
        return 0;
}
