/* SPDX-License-Identifier: MIT */
#include "transport/batch.h"

#include "base/fd.h"
#include "resources.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>

#define FILES 16

static int near, far;
static int file[FILES];
static ino_t inode[FILES];
static struct objm_batch batch;
static struct objm_outq queue;

static int open_all(void **state)
{
        int sv[2], sndbuf = 2304;

        count_before(state);
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, sv) < 0)
                return -1;
        near = sv[0];
        far = sv[1];
        for (int i = 0; i < FILES; i++) {
                file[i] = new_file();
                inode[i] = inode_of(file[i]);
        }
        batch.len = batch.n_fds = 0;
        objm_outq_init(&queue);
        return setsockopt(near, SOL_SOCKET, SO_SNDBUF, &sndbuf, sizeof(sndbuf));
}

static int close_all(void **state)
{
        near = objm_fd_close(near);
        far = objm_fd_close(far);
        objm_fd_close_many(file, FILES);
        objm_batch_clear(&batch);
        objm_outq_deinit(&queue);
        return count_after(state);
}

#define batch_test(f) cmocka_unit_test_setup_teardown(f, open_all, close_all)

/* A generator of its own, so that a failure comes again. */
static unsigned draw(unsigned below)
{
        static uint64_t x = 0x9e3779b97f4a7c15;

        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        return (unsigned)(x >> 33) % below;
}

/*
 * What stands for a reply: a number, which files its descriptors are of, and bytes that follow from the number. The
 * receiver needs nothing else to check all of it.
 */
struct frame {
        uint32_t number;
        uint16_t n_fds, pad;
        uint8_t of[OBJM_FDPASS_MAX];
};

#define FRAME_HEADER offsetof(struct frame, of)

static void put_frame(uint32_t number, size_t n_fds, size_t pad)
{
        struct frame f = {.number = number, .n_fds = (uint16_t)n_fds, .pad = (uint16_t)pad};

        for (size_t i = 0; i < n_fds; i++) {
                f.of[i] = (uint8_t)draw(FILES);
                objm_batch_add_fd(&batch, fcntl(file[f.of[i]], F_DUPFD_CLOEXEC, 0));
        }
        assert_true(objm_batch_room(&batch) >= FRAME_HEADER + n_fds + pad);
        memcpy(batch.data + batch.len, &f, FRAME_HEADER + n_fds);
        batch.len += FRAME_HEADER + n_fds;
        memset(batch.data + batch.len, (int)(number & 255), pad);
        batch.len += pad;
}

/* A queue of bytes, a queue of descriptors, matched by counting. */
struct receiver {
        uint8_t bytes[65536];
        int fds[4096];
        size_t n_bytes, n_fds;
        uint32_t frames; /* checked so far */
};

static void check_frame(struct receiver *rx, const struct frame *f)
{
        assert_int_equal(f->number, rx->frames++);
        assert_true(rx->n_fds >= f->n_fds); /* a whole frame never waits for its descriptors */
        for (size_t i = 0; i < f->n_fds; i++)
                assert_true(inode_of(rx->fds[i]) == inode[f->of[i]]);
        objm_fd_close_many(rx->fds, f->n_fds);
        rx->n_fds -= f->n_fds;
        memmove(rx->fds, rx->fds + f->n_fds, rx->n_fds * sizeof(int));
}

/* True when there was a whole frame. */
static bool take_frame(struct receiver *rx)
{
        struct frame f = {0};
        size_t len;

        if (rx->n_bytes < FRAME_HEADER)
                return false;
        memcpy(&f, rx->bytes, FRAME_HEADER);
        assert_true(f.n_fds <= OBJM_FDPASS_MAX);
        len = FRAME_HEADER + f.n_fds + f.pad;
        if (rx->n_bytes < len)
                return false;
        memcpy(f.of, rx->bytes + FRAME_HEADER, f.n_fds);
        for (size_t i = len - f.pad; i < len; i++)
                assert_int_equal(rx->bytes[i], f.number & 255);
        check_frame(rx, &f);
        rx->n_bytes -= len;
        memmove(rx->bytes, rx->bytes + len, rx->n_bytes);
        return true;
}

/* Reads up to @chunk bytes. False: there was nothing. */
static bool receive(struct receiver *rx, size_t chunk)
{
        bool lost;
        size_t n;
        ssize_t got = objm_fdpass_recv(far, rx->bytes + rx->n_bytes, chunk, rx->fds + rx->n_fds, OBJM_FDPASS_MAX, &n,
                                       &lost);

        if (got == -EAGAIN)
                return false;
        assert_true(got > 0);
        assert_false(lost);
        rx->n_bytes += (size_t)got;
        rx->n_fds += n;
        while (take_frame(rx))
                continue;
        return true;
}

static void receive_all(struct receiver *rx, uint32_t frames)
{
        while (receive(rx, 1 + draw(3000)) || !objm_outq_empty(&queue)) {
                int r = objm_outq_send(&queue, near);

                assert_true(r == 0 || r == -EAGAIN);
        }
        assert_int_equal(rx->frames, frames);
        assert_int_equal(rx->n_bytes, 0);
        assert_int_equal(rx->n_fds, 0);
}

/* Some frames, few or as many as fit, with no, one or many descriptors. Returns how many. */
static uint32_t fill_batch(uint32_t first)
{
        uint32_t n = 0, wanted = draw(4) ? 1 + draw(8) : 260;
        size_t many = draw(8) ? 1 : 1 + draw(OBJM_FDPASS_MAX);

        while (n < wanted) {
                size_t fds = draw(3) ? draw((unsigned)many + 1) : 0, pad = draw(5) ? draw(40) : draw(1500);

                if (batch.n_fds + fds > OBJM_FDPASS_MAX || objm_batch_room(&batch) < FRAME_HEADER + fds + pad)
                        break;
                put_frame(first + n++, fds, pad);
        }
        return n;
}

static void assert_same_batch(const struct objm_batch *before)
{
        assert_int_equal(batch.len, before->len);
        assert_int_equal(batch.n_fds, before->n_fds);
        assert_memory_equal(batch.fds, before->fds, batch.n_fds * sizeof(int));
        assert_memory_equal(batch.data, before->data, batch.len);
        for (size_t i = 0; i < batch.n_fds; i++)
                assert_true(fcntl(batch.fds[i], F_GETFD) >= 0);
}

/* Sends what waits, then the batch. True when it has gone. */
static bool send_batch(void)
{
        static struct objm_batch before;
        int r = objm_outq_send(&queue, near);

        assert_true(r == 0 || r == -EAGAIN);
        if (r)
                return false;
        before = batch;
        r = objm_batch_send(&batch, near, &queue);
        if (r == -EAGAIN) {
                assert_same_batch(&before);
                assert_true(objm_outq_empty(&queue));
                return false;
        }
        assert_int_equal(r, 0);
        assert_int_equal(batch.len, 0);
        assert_int_equal(batch.n_fds, 0);
        return true;
}

/* A small socket buffer, a reader of random appetite: every descriptor is of the file that its frame names. */
static void descriptors_match_their_frames(void **state)
{
        static struct receiver rx;
        uint32_t sent = 0, in_batch = 0, full = 0, partial = 0;

        rx = (struct receiver){0};
        while (sent < 20000) {
                if (!in_batch)
                        in_batch = fill_batch(sent);
                if (send_batch()) {
                        sent += in_batch;
                        in_batch = 0;
                        partial += !objm_outq_empty(&queue);
                } else {
                        full++;
                }
                for (unsigned i = draw(4); i > 0; i--)
                        receive(&rx, 1 + draw(draw(4) ? 300 : 6000));
        }
        receive_all(&rx, sent);
        assert_true(full > 100 && partial > 100); /* else the test has not tested it */
}

static void a_full_batch_of_descriptors(void **state)
{
        static struct receiver rx;

        rx = (struct receiver){0};
        for (uint32_t i = 0; i < OBJM_FDPASS_MAX; i++)
                put_frame(i, 1, OBJM_BATCH_BYTES / OBJM_FDPASS_MAX - FRAME_HEADER - 1);
        assert_true(send_batch());
        assert_false(objm_outq_empty(&queue)); /* more bytes than the buffer takes, but every descriptor has left */
        assert_int_equal(queue.fds, 0);
        receive_all(&rx, OBJM_FDPASS_MAX);
}

/* The socket is full for one byte: the batch stays, then goes by way of the queue, whichever way it would have. */
static void what_cannot_go_can_be_queued(void **state)
{
        static struct receiver rx;
        uint32_t n = 0;

        rx = (struct receiver){0};
        do {
                objm_batch_clear(&batch);
                put_frame(n, 1, 10);
        } while (send_batch() && ++n);
        assert_int_equal(objm_batch_queue(&batch, &queue), 0);
        assert_int_equal(batch.len + batch.n_fds, 0);
        put_frame(n + 1, 0, 10);
        assert_int_equal(objm_batch_queue(&batch, &queue), 0);
        assert_int_equal(queue.fds, 1);
        receive_all(&rx, n + 2);
}

/* Takes a version-1 answer as its clients do: reads bytes, without room for descriptors, then one byte with. */
static bool take_apart(uint32_t number)
{
        struct frame f;
        size_t n, have = 0;
        uint8_t byte = 0;
        bool lost;
        int fd;

        while (have < FRAME_HEADER + 1) {
                ssize_t got = recv(far, (uint8_t *)&f + have, FRAME_HEADER + 1 - have, MSG_DONTWAIT);

                assert_true(objm_outq_send(&queue, near) == 0 || !objm_outq_empty(&queue));
                if (got < 0 && !have && objm_outq_empty(&queue))
                        return false;
                have += got > 0 ? (size_t)got : 0;
        }
        assert_int_equal(f.number, number);
        while (objm_fdpass_recv(far, &byte, 1, &fd, 1, &n, &lost) == -EAGAIN)
                assert_true(objm_outq_send(&queue, near) == 0 || !objm_outq_empty(&queue));
        assert_int_equal(byte, 0x58);
        assert_int_equal(n, 1);
        assert_false(lost);
        assert_true(inode_of(fd) == inode[f.of[0]]);
        close(fd);
        return true;
}

/* Sends one answer, or queues it when it cannot go: then a client that does not read has used the bounds up. */
static int send_apart(uint32_t number)
{
        int r = -EAGAIN;

        put_frame(number, 1, 0);
        if (objm_outq_empty(&queue))
                r = objm_batch_send_apart(&batch, 0x58, near, &queue);
        if (r == -EAGAIN)
                r = objm_batch_queue_apart(&batch, 0x58, &queue);
        objm_batch_clear(&batch);
        return r;
}

static void apart_the_descriptor_is_never_on_the_header(void **state)
{
        uint32_t sent = 0, taken = 0;

        while (sent < 5000) {
                for (unsigned i = 1 + draw(30); i > 0; i--)
                        assert_int_equal(send_apart(sent++), 0);
                for (unsigned i = draw(60); i > 0 && taken < sent; i--)
                        taken += take_apart(taken);
                while (queue.fds > OBJM_OUTQ_FDS_MAX / 2)
                        taken += take_apart(taken);
        }
        while (taken < sent)
                taken += take_apart(taken);
        assert_false(take_apart(taken));
}

/* Fills the socket with answers behind @before single bytes. True: of the last one only the byte had to wait. */
static bool fill_apart(unsigned before)
{
        uint32_t sent = 0, taken = 0;
        uint8_t byte;
        bool alone;

        for (unsigned i = 0; i < before; i++)
                assert_int_equal(objm_fdpass_send(near, "x", 1, NULL, 0), 1);
        do {
                put_frame(sent, 1, 0);
                if (objm_batch_send_apart(&batch, 0x58, near, &queue) < 0)
                        break;
                sent++;
        } while (objm_outq_empty(&queue));
        assert_int_equal(batch.n_fds, objm_outq_empty(&queue)); /* kept when nothing has gone, else moved */
        alone = queue.bytes == 1 && queue.fds == 1;
        objm_batch_clear(&batch);
        for (unsigned i = 0; i < before; i++)
                assert_int_equal(recv(far, &byte, 1, 0), 1);
        while (taken < sent)
                taken += take_apart(taken);
        assert_false(take_apart(taken));
        return alone;
}

/* Header and byte take the same room in the socket, so that with or without one more message the header is the last. */
static void apart_the_second_part_may_wait_alone(void **state)
{
        assert_true(fill_apart(0) + fill_apart(1) > 0);
}

/* More bytes than the socket takes at once: the rest waits, and the byte with the descriptor behind it. */
static void apart_the_second_part_stays_behind_a_partial_first(void **state)
{
        enum { PAD = 9000 };
        size_t left = FRAME_HEADER + 1 + PAD, n;
        uint8_t buf[1000];
        bool lost;
        int fd;

        put_frame(7, 1, PAD);
        assert_int_equal(objm_batch_send_apart(&batch, 0x58, near, &queue), 0);
        assert_true(queue.bytes > 1);
        assert_int_equal(queue.fds, 1);
        while (left > 0) {
                ssize_t got = recv(far, buf, left < sizeof(buf) ? left : sizeof(buf), 0);

                left -= got > 0 ? (size_t)got : 0;
                (void)!objm_outq_send(&queue, near);
        }
        assert_true(objm_outq_empty(&queue));
        assert_int_equal(objm_fdpass_recv(far, buf, sizeof(buf), &fd, 1, &n, &lost), 1);
        assert_int_equal(buf[0], 0x58);
        assert_int_equal(n, 1);
        close(fd);
}

static void bounds_of_the_queue_end_the_connection(void **state)
{
        uint32_t n = 0;
        int r;

        while ((r = send_apart(n)) == 0)
                assert_true(++n < 10000);
        assert_int_equal(r, -ENOBUFS);
        assert_true(queue.fds <= OBJM_OUTQ_FDS_MAX);
        assert_int_equal(batch.n_fds, 0);
}

static void a_gone_peer_leaves_it_to_the_caller(void **state)
{
        far = objm_fd_close(far);
        put_frame(0, 3, 10);
        assert_int_equal(objm_batch_send(&batch, near, &queue), -EPIPE);
        assert_int_equal(batch.n_fds, 3);
        objm_batch_clear(&batch);
        put_frame(0, 1, 10);
        assert_int_equal(objm_batch_send_apart(&batch, 0x58, near, &queue), -EPIPE);
        assert_int_equal(batch.n_fds, 1);
        assert_true(objm_outq_empty(&queue));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                batch_test(descriptors_match_their_frames),
                batch_test(a_full_batch_of_descriptors),
                batch_test(what_cannot_go_can_be_queued),
                batch_test(apart_the_descriptor_is_never_on_the_header),
                batch_test(apart_the_second_part_may_wait_alone),
                batch_test(apart_the_second_part_stays_behind_a_partial_first),
                batch_test(bounds_of_the_queue_end_the_connection),
                batch_test(a_gone_peer_leaves_it_to_the_caller),
        };

        return cmocka_run_group_tests_name("batch", tests, NULL, NULL);
}
