/* SPDX-License-Identifier: MIT */
#ifndef OBJMAPPER_H
#define OBJMAPPER_H
/*
 * libobjmapper: objects by URI from objmapperd(8), as open read-only descriptors or as bytes. See libobjmapper(3).
 *
 * Threads: a `struct objmapper` (a handle) belongs to one thread at a time, but for OBJMAPPER_SPLIT_BODIES; different
 * handles share nothing. A handle taken along by fork(2) belongs to the parent: in the child every call but
 * objmapper_free() reconnects first.
 * Errors: 0 or a positive count is success, a negative value is -errno. Nothing is printed, no signal is raised
 * (but see objmapper_read_to_fd()).
 */
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif
#ifdef __GNUC__
#pragma GCC visibility push(default)
#endif

#define OBJMAPPER_SOCKET  "/run/objmapper.sock"
#define OBJMAPPER_URI_MAX 4096
#define OBJMAPPER_INSTANCE 16 /* bytes */

struct objmapper;

enum objmapper_flags {
        OBJMAPPER_NO_RECONNECT = 1 << 0, /* a lost connection is an error, not a reason to reconnect and retry */
        OBJMAPPER_NO_SPIN = 1 << 1,      /* sleep for a reply at once instead of first polling for some microseconds */
        OBJMAPPER_NO_BATCH = 1 << 2,     /* one descriptor a message */
        OBJMAPPER_SPLIT_BODIES = 1 << 3, /* the read calls have a connection of their own: see there */
        OBJMAPPER_RING = 1 << 4,         /* requests go through shared memory, where the server has that */
};

struct objmapper_options {
        size_t size;      /* sizeof(struct objmapper_options), so that it can grow */
        unsigned flags;   /* enum objmapper_flags */
        unsigned version; /* protocol: 0 the newest that the server speaks, or exactly 1 or 3 */
        int timeout_ms;   /* for one blocking call, reconnecting included; 0: 2000; -1: none */
        unsigned depth;   /* requests in flight at most; 0: 256. The server may grant less */
        char *reason;     /* NULL, or @reason_size >= 1 bytes of the caller's, for as long as there is the handle */
        size_t reason_size;
};

/* What a request came back with. */
struct objmapper_object {
        int fd;           /* get: owned by the caller, O_RDONLY and close-on-exec, offset 0; else -1 */
        int not_modified; /* get with an if_version that is still current: 1, and no descriptor */
        uint64_t size;    /* bytes */
        uint64_t version; /* opaque, changes when the object does; 0: unknown (version-1 server) */
        int64_t mtime;    /* seconds since 1970; -1: unknown */
};

enum objmapper_mode {
        OBJMAPPER_MODE_AUTO,   /* the server picks; small objects come at once, with the reply */
        OBJMAPPER_MODE_FD,     /* the server passes a descriptor, which the library reads */
        OBJMAPPER_MODE_COPY,   /* the server sends the bytes */
        OBJMAPPER_MODE_SPLICE, /* the same, moved inside the kernel where that can be */
};

struct objmapper_read_options {
        size_t size;             /* sizeof(struct objmapper_read_options), so that it can grow */
        int mode;                /* enum objmapper_mode */
        uint64_t offset, length; /* bytes of the object; length 0: to its end */
        uint64_t if_version;     /* not 0: read nothing if the object still has this version */
};

struct objmapper_completion {
        uint64_t user_data;
        int result; /* 0, of a read the number of bytes, or -errno, as of the blocking call */
        struct objmapper_object object;
};

/*
 * Connects to @socket: a path, "unix://PATH", or "tcp://ADDRESS:PORT" with an address in numbers, if of IPv6 in
 * brackets (NULL: OBJMAPPER_SOCKET). @options may be NULL. A server that is not there yet is waited for until the
 * timeout. *ret is to be given to objmapper_free(). Over TCP there are no descriptors: get calls end with -EOPNOTSUPP,
 * and in version 1 stat calls too; use the read calls.
 *
 * options->reason: of what the server or the library last refused, why, where that says more than the error does; ends
 * in NUL, and is empty when a blocking call begins, this one too. Requests through a ring, and those of the second
 * connection of OBJMAPPER_SPLIT_BODIES, leave it alone.
 */
int objmapper_connect(const char *socket, const struct objmapper_options *options, struct objmapper **ret);
void objmapper_free(struct objmapper *om);

/*
 * Blocking calls. @uri ends in NUL; use the submit calls for URIs by length. *ret is untouched on failure. They are
 * idempotent and are sent again when the connection breaks, until the timeout or the 16th loss (-ECONNRESET).
 * -ENOENT: no such object; -EACCES: denied; -EINVAL: not a URI; -ENAMETOOLONG: longer than OBJMAPPER_URI_MAX;
 * -EBUSY: the server is busy or draining, or submitted requests are in flight; -EIO: storage failed; -EMFILE: this
 * process has no free descriptor (the descriptor is lost, the connection is not); -ETIMEDOUT; -EOPNOTSUPP: the server
 * cannot do that; -EPROTO: the other end does not speak the protocol.
 */
int objmapper_get(struct objmapper *om, const char *uri, struct objmapper_object *ret);
int objmapper_get_if_changed(struct objmapper *om, const char *uri, uint64_t version, struct objmapper_object *ret);
int objmapper_stat(struct objmapper *om, const char *uri, struct objmapper_object *ret);
int objmapper_ping(struct objmapper *om);

/*
 * Blocking too: an object's bytes, however they come. @options and @ret may be NULL; ret->fd is -1. Reading behind the
 * end is not an error, it reads nothing. The timeout is for each wait without any progress. A connection that breaks
 * in the middle is made again and reading goes on where it was; -ESTALE: the object has changed meanwhile;
 * -ECONNRESET: nobody can tell whether it has (version 1). Fewer bytes than the object had are never a success. A read
 * that ends early gives the connection up, which under OBJMAPPER_NO_RECONNECT is the end of the handle. -EOPNOTSUPP:
 * the server does not send bytes; in version 1, not from an offset.
 *
 * read() fills at most @n >= 1 bytes at @buf and returns how many; it begins anew where the others return -ESTALE. On
 * failure the buffer's content is undefined. read_to_fd() writes to @fd, at its offset, waiting where it would block;
 * write(2) may raise SIGPIPE. read_cb() calls @fn for each piece, in order, with the object and the piece's offset in
 * it; a value other than 0 stops and is returned. @fn must not use @om.
 *
 * With OBJMAPPER_SPLIT_BODIES these three, in every mode, use a second connection, made by the first of them with the
 * options of the handle and kept until objmapper_free(); when it cannot be made they return what objmapper_connect()
 * would. All other calls keep to the first one, so that no answer waits behind a body. What holds of a connection holds
 * of each by itself: losses, reconnecting, timeouts, -EBUSY (here: another read is going on). While one thread reads,
 * one other may be in the other calls; and @fn may use @om, but for reading and objmapper_free().
 */
typedef int (*objmapper_read_fn)(void *userdata, const struct objmapper_object *object, uint64_t offset,
                                 const void *data, size_t n);
ssize_t objmapper_read(struct objmapper *om, const char *uri, void *buf, size_t n,
                       const struct objmapper_read_options *options, struct objmapper_object *ret);
int objmapper_read_to_fd(struct objmapper *om, const char *uri, int fd, const struct objmapper_read_options *options,
                         struct objmapper_object *ret);
int objmapper_read_cb(struct objmapper *om, const char *uri, objmapper_read_fn fn, void *userdata,
                      const struct objmapper_read_options *options, struct objmapper_object *ret);

/*
 * Control operations, for root, the daemon's user and the groups of its configuration (-EACCES for others, and over
 * TCP). STATS has *ret_text say how the daemon does, as one JSON object. RELOAD returns when the daemon has read its
 * configuration anew; -EINVAL: it cannot be used, so the old one stays, and *ret_text says why. DRAIN returns when the
 * daemon has begun to end: no new connections, what is in flight is still answered; it is not repeated when the
 * connection breaks (-ECONNRESET: it may have been heard). *ret_text is always set: NULL, or text to be given to
 * free(3). @ret_text may be NULL. Otherwise as the blocking calls above; -EOPNOTSUPP: the server is too old, or the
 * protocol version 1.
 */
enum objmapper_control_operation {
        OBJMAPPER_STATS,
        OBJMAPPER_RELOAD,
        OBJMAPPER_DRAIN,
        OBJMAPPER_STATS_CLIENTS,     /* STATS, with a member "clients" that has an object for each connection */
        OBJMAPPER_STATS_OPENMETRICS, /* the numbers of STATS as OpenMetrics text */
        OBJMAPPER_STATS_OPENMETRICS_CLIENTS, /* the same with each connection */
};
int objmapper_control(struct objmapper *om, int operation, char **ret_text);

/*
 * Gets @n objects with many requests in flight. @done is called once for each, in any order, with the index into
 * @uris; it owns completion->object.fd. A non-zero return of @done stops: what comes after is closed, and that value is
 * returned. 0 when all have been answered, else -errno of the connection (then not all have been); the timeout is for
 * each wait without any answer. @done must not use @om.
 */
typedef int (*objmapper_done_fn)(void *userdata, size_t index, const struct objmapper_completion *completion);
int objmapper_get_many(struct objmapper *om, const char *const *uris, size_t n, objmapper_done_fn done,
                       void *userdata);

/*
 * Many in flight: submit, flush, reap. submit_* queue a request and copy @uri (-EAGAIN: as many as the depth are in
 * flight, reap first; a get_if_changed with @version 0 is a get). flush() sends what is queued as far as the socket
 * takes it. reap() returns up to @n completions that have arrived, without waiting; wait() flushes and waits for at
 * least one, @timeout_ms at most (-1: for ever), and returns 0 at the timeout or when nothing is in flight. When the
 * connection breaks, requests in flight are sent again on a new one, up to 16 times. Under OBJMAPPER_NO_RECONNECT they
 * complete with -ECONNRESET, which all later calls then return.
 */
int objmapper_submit_get(struct objmapper *om, const void *uri, size_t len, uint64_t user_data);
int objmapper_submit_get_if_changed(struct objmapper *om, const void *uri, size_t len, uint64_t version,
                                    uint64_t user_data);
int objmapper_submit_stat(struct objmapper *om, const void *uri, size_t len, uint64_t user_data);
int objmapper_submit_ping(struct objmapper *om, uint64_t user_data);
/*
 * Many reads in flight: as objmapper_read(), for small objects. @options are copied. @buf, @n bytes (1 to INT_MAX), is
 * the library's until the completion has been reaped, or objmapper_free(), and shares no byte with that of another
 * request in flight. The result is the number of bytes read; what @buf holds behind them, or with an error, is
 * undefined. completion->object.size says how long the object is.
 *
 * Bytes come with the answer where the server does that (OBJMAPPER_MODE_AUTO: up to 16 KiB), through the ring where
 * there is one and they fit. A larger object comes as a descriptor, which reap() and wait() read into the buffer and
 * close, waiting for a disk if they have to; or, in other modes and over TCP, as bytes behind which other answers wait,
 * under OBJMAPPER_SPLIT_BODIES too. Version 1 sends an object whole: what the buffer does not take is received and
 * dropped. A read begins anew after a break, and when the object was truncated in place (-ESTALE: 16 times).
 */
int objmapper_submit_read(struct objmapper *om, const void *uri, size_t len, void *buf, size_t n,
                          const struct objmapper_read_options *options, uint64_t user_data);
int objmapper_flush(struct objmapper *om);
int objmapper_reap(struct objmapper *om, struct objmapper_completion *ret, size_t n);
int objmapper_wait(struct objmapper *om, struct objmapper_completion *ret, size_t n, int timeout_ms);
size_t objmapper_in_flight(const struct objmapper *om);

/*
 * For event loops: poll objmapper_fd() for objmapper_events() (POLLIN, POLLOUT), then call flush() and reap(). Ask for
 * both again after every call: reconnecting changes the descriptor. objmapper_timeout() is the longest time in ms to
 * poll before calling reap() all the same (-1: none), for reconnecting. objmapper_generation() counts the connections
 * made: when it has changed, register the descriptor with epoll anew, even if its number is the same. Poll
 * level-triggered.
 */
int objmapper_fd(const struct objmapper *om);
short objmapper_events(const struct objmapper *om);
int objmapper_timeout(const struct objmapper *om);
unsigned objmapper_generation(const struct objmapper *om);

/*
 * Small objects by datagram, from a server that is configured for UDP: @address is "ADDRESS:PORT" or "[ADDRESS]:PORT",
 * in digits. No connection is made: connect() returns -EINVAL for what is no address, or what socket(2) and connect(2)
 * say. get() copies an object, at most @n bytes of it, to @buf and returns how many; ret->size says how many there are,
 * OBJMAPPER_UDP_MAX at most. @ret may be NULL; ret->fd is -1. It sends the request again, at growing intervals, until
 * there is an answer or the timeout (ms; 0: 2000; -1: none) is over: -ETIMEDOUT, or -ECONNREFUSED if nobody listens
 * there. -EMSGSIZE: the object or the URI does not fit in a datagram: use a stream. Other errors are those of
 * objmapper_get(). A handle belongs to one thread at a time and is not for both sides of a fork(2).
 */
#define OBJMAPPER_UDP_MAX 1200

struct objmapper_udp;
int objmapper_udp_connect(const char *address, int timeout_ms, struct objmapper_udp **ret);
void objmapper_udp_free(struct objmapper_udp *u);
ssize_t objmapper_udp_get(struct objmapper_udp *u, const char *uri, void *buf, size_t n, struct objmapper_object *ret);

/*
 * Helpers over a descriptor. read_all() fills up to @n bytes from @offset by pread(2) and returns how many (less only
 * at the end). map() maps the whole object, as long as it is now, read-only; *ret is NULL with length 0 for an empty
 * one. Reading a mapping of an object that is truncated in place raises SIGBUS: map only what is replaced by rename.
 */
ssize_t objmapper_read_all(int fd, void *buf, size_t n, uint64_t offset);
int objmapper_map(const struct objmapper_object *object, const void **ret, size_t *ret_len);
void objmapper_unmap(const void *map, size_t len);

/* The protocol version in use (1 or 3; 0 before a connection), and the library's version as text. */
int objmapper_protocol(const struct objmapper *om);
const char *objmapper_version(void);

/*
 * The server's instance, which changes each time it starts: the one that the connection was made to, and which may
 * have been followed by another without the client's notice. -ENOTCONN: there is no connection now; -EOPNOTSUPP: the
 * server speaks version 1.
 */
int objmapper_instance(const struct objmapper *om, unsigned char ret[OBJMAPPER_INSTANCE]);

#ifdef __GNUC__
#pragma GCC visibility pop
#endif
#ifdef __cplusplus
}
#endif

#endif
