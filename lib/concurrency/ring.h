/* SPDX-License-Identifier: MIT */
#ifndef OBJM_CONCURRENCY_RING_H
#define OBJM_CONCURRENCY_RING_H
/*
 * One direction of a ring between two processes: one producer, one consumer, entries of a cache line. The memory is the
 * caller's, and the peer may write to it at any time, so:
 *
 *      - sizes and pointers, and the own index, are kept in private memory and never read back;
 *      - a word of the peer is loaded once, atomically, and believed only when the peer's index could have got there;
 *      - an entry is copied once, word by word; what the copy says is for the caller to check.
 *
 * Indices run freely over 32 bits: (index - origin) & (size - 1) is the place, a difference modulo 2^32 is a number of
 * entries. The producer moves origin, beside head, when the consumer has given everything back and the first places
 * have been used up: a ring that is never full stays within a page. Any value of it is a place for the consumer.
 *
 * The last word of an entry, its stamp, says that it is there: how many entries there have been with it, in 64 bits,
 * which do not come round. A consumer that polls looks at the stamp of the next entry only, so that one line moves from
 * CPU to CPU for an entry, and not head's before it; and at that of the first place, when the producer may have begun
 * anew there. Entries that are put together have their stamps before they are published, but for the first of them,
 * which is kept back: nobody looks at those behind it. Head says the same a moment later. Whoever is about to sleep
 * looks there, too, so what has no stamp is found as well.
 *
 * Each shared word has a line of its own. Who may write to which differs (the consumer writes its tail where the
 * producer only reads), hence one pointer for each.
 *
 * Going to sleep. The consumer's flag `asleep` says that it wants the doorbell:
 *
 *      consumer (objm_ring_sleep)              producer (objm_ring_publish)
 *      asleep = 1                              stamp; head = next     (release)
 *      seq_cst fence                           seq_cst fence
 *      look at head; nothing: sleep            asleep? ring the doorbell
 *
 * Of two such fences one comes first: either the consumer sees the new head, or the producer sees the flag. With weaker
 * ordering both stores can still be on their way while both loads are done, and nobody ever wakes the consumer. A
 * doorbell has to last: one that is rung before the consumer sleeps must still wake it (an eventfd does, a byte in a
 * socket, a futex on the head). tests/wake shows that each fence is needed; tests/model, that they suffice.
 *
 * A producer or a consumer belongs to one thread at a time.
 */
#include "base/attr.h"
#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define OBJM_RING_SIZE_MAX (1U << 20)

/* Only for tests/wake, which must see each of them missed: 1 leaves the consumer's fence out, 2 the producer's. */
#ifndef OBJM_RING_WITHOUT_FENCE
#define OBJM_RING_WITHOUT_FENCE 0
#endif

/* Places after which an empty ring begins anew: with as many again in one batch they are within a page. */
#define OBJM_RING_RESTART 30

#define OBJM_RING_STAMP 7 /* the word of an entry */
#define OBJM_RING_SCAN  32 /* stamps looked at in one go */
#define OBJM_RING_LOOKS 1024 /* at stamps, before one at head */

/* A word in shared memory, alone on its line but for what belongs to it. One side writes both. */
struct objm_ring_word {
        _Alignas(OBJM_CACHE_LINE) _Atomic uint32_t value;
        _Atomic uint32_t origin; /* of a head */
};

struct objm_ring_entry {
        _Alignas(OBJM_CACHE_LINE) uint64_t word[OBJM_CACHE_LINE / sizeof(uint64_t)];
};

_Static_assert(sizeof(struct objm_ring_word) == OBJM_CACHE_LINE, "a line for each word");
_Static_assert(sizeof(struct objm_ring_entry) == OBJM_CACHE_LINE, "a line for each entry");
_Static_assert(sizeof(_Atomic uint32_t) == sizeof(uint32_t) && ATOMIC_INT_LOCK_FREE == 2, "shared between processes");

/* Where a direction lies. The producer writes @entries and @head, the consumer @tail and @asleep. */
struct objm_ring_place {
        struct objm_ring_entry *entries;
        struct objm_ring_word *head;   /* up to where entries are published */
        struct objm_ring_word *tail;   /* up to where they are consumed */
        struct objm_ring_word *asleep; /* not 0: the consumer wants the doorbell */
        uint32_t size;                 /* entries, a power of two up to OBJM_RING_SIZE_MAX */
};

struct objm_ring_producer {
        struct objm_ring_place at;
        uint32_t next;      /* where the next entry goes */
        uint32_t published; /* what head says */
        uint32_t seen;      /* the tail last believed */
        uint32_t origin;    /* index of the entry in the first place */
        uint64_t count;     /* entries ever published */
        uint64_t first[OBJM_RING_STAMP]; /* of those put since, the first */
};

struct objm_ring_consumer {
        struct objm_ring_place at;
        uint32_t next;     /* where the next entry comes from */
        uint32_t released; /* what tail says */
        uint32_t seen;     /* up to where entries are known of */
        uint32_t head;     /* what head said, when it was last looked at */
        uint32_t origin;   /* as of `seen` */
        uint32_t looks;    /* ever, at stamps */
        uint64_t count;    /* entries ever seen */
};

/*
 * @at is copied. Both sides begin with the same @start, which the caller has stored in head and tail before the peer
 * could see them (fresh zeroed memory and 0 will do). 0; -EINVAL: the size is none, or memory is missing or misaligned.
 */
int objm_ring_producer_init(struct objm_ring_producer *p, const struct objm_ring_place *at,
                            uint32_t start) objm_must_check;
int objm_ring_consumer_init(struct objm_ring_consumer *c, const struct objm_ring_place *at,
                            uint32_t start) objm_must_check;

static inline void objm_ring_fence(int which)
{
#pragma GCC diagnostic push
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wtsan" /* it is executed; what ThreadSanitizer checks rests on head and tail alone */
#endif
        if (which == OBJM_RING_WITHOUT_FENCE)
                atomic_signal_fence(memory_order_seq_cst);
        else
                atomic_thread_fence(memory_order_seq_cst);
#pragma GCC diagnostic pop
}

/* Whether an index that was at @seen can be at @now, when it may come as far as @limit. */
static inline bool objm_ring_reachable(uint32_t seen, uint32_t now, uint32_t limit)
{
        return now - seen <= limit - seen;
}

static inline void objm_ring_entry_load(struct objm_ring_entry *ret_copy, const struct objm_ring_entry *shared)
{
#pragma GCC unroll 8
        for (size_t i = 0; i < objm_array_len(shared->word); i++)
                ret_copy->word[i] = __atomic_load_n(&shared->word[i], __ATOMIC_RELAXED);
}

/* The stamp comes last. */
static inline void objm_ring_entry_store(struct objm_ring_entry *shared, const uint64_t *words, uint64_t stamp)
{
#pragma GCC unroll 8
        for (size_t i = 0; i < OBJM_RING_STAMP; i++)
                __atomic_store_n(&shared->word[i], words[i], __ATOMIC_RELAXED);
        __atomic_store_n(&shared->word[OBJM_RING_STAMP], stamp, __ATOMIC_RELEASE);
}

/* ---- producer ---- */

/* The next publish() shows a new origin with the first entry that goes by it. */
static inline void objm_ring_restart(struct objm_ring_producer *p)
{
        p->origin = p->next;
        atomic_store_explicit(&p->at.head->origin, p->next, memory_order_relaxed);
}

/*
 * How many entries can be put. Looks at the consumer's tail only when fewer than @want are known to be free: 1 to go on
 * for as long as possible without touching that line, the size to know exactly; and when an empty ring could begin
 * anew. -EPROTO: that tail is a lie.
 */
static inline int objm_ring_writable(struct objm_ring_producer *p, uint32_t want)
{
        bool late = p->next == p->published && p->next - p->origin >= OBJM_RING_RESTART;
        uint32_t tail;

        if (late || p->at.size - (p->next - p->seen) < want) {
                tail = atomic_load_explicit(&p->at.tail->value, memory_order_acquire);
                if (objm_unlikely(!objm_ring_reachable(p->seen, tail, p->published)))
                        return -EPROTO;
                p->seen = tail;
                if (late && tail == p->next)
                        objm_ring_restart(p);
        }
        return (int)(p->at.size - (p->next - p->seen));
}

static inline struct objm_ring_entry *objm_ring_producer_at(const struct objm_ring_producer *p, uint32_t index)
{
        return &p->at.entries[(index - p->origin) & (p->at.size - 1)];
}

/*
 * objm_ring_writable() has said that there is room. The consumer sees nothing of it before publish(). The last word of
 * @entry is not used.
 */
static inline void objm_ring_put(struct objm_ring_producer *p, const struct objm_ring_entry *entry)
{
        if (p->next == p->published)
                memcpy(p->first, entry->word, sizeof(p->first));
        else
                objm_ring_entry_store(objm_ring_producer_at(p, p->next), entry->word,
                                      p->count + (p->next - p->published) + 1);
        p->next++;
}

/* Takes back what has been put since the next index was @index, and not published. */
static inline void objm_ring_unput(struct objm_ring_producer *p, uint32_t index)
{
        while (p->next != index)
                if (--p->next != p->published)
                        __atomic_store_n(&objm_ring_producer_at(p, p->next)->word[OBJM_RING_STAMP], 0,
                                         __ATOMIC_RELAXED);
}

/* All that was put since the last time, at once. True: the consumer sleeps or is about to, ring its doorbell. */
static inline objm_must_check bool objm_ring_publish(struct objm_ring_producer *p)
{
        if (p->next != p->published)
                objm_ring_entry_store(objm_ring_producer_at(p, p->published), p->first, p->count + 1);
        p->count += p->next - p->published;
        p->published = p->next;
        atomic_store_explicit(&p->at.head->value, p->next, memory_order_release);
        objm_ring_fence(2);
        return atomic_load_explicit(&p->at.asleep->value, memory_order_relaxed) != 0;
}

/* ---- consumer ---- */

/* Pairs with the release of publish(), which comes after what was put behind that entry. */
static inline bool objm_ring_has_stamp(const struct objm_ring_consumer *c, uint32_t place, uint32_t ahead)
{
        return __atomic_load_n(&c->at.entries[place & (c->at.size - 1)].word[OBJM_RING_STAMP], __ATOMIC_ACQUIRE) ==
               c->count + ahead + 1;
}

/* True when the producer has begun anew with the next entry. */
static inline bool objm_ring_restarted(const struct objm_ring_consumer *c)
{
        return c->seen - c->origin >= OBJM_RING_RESTART && objm_ring_has_stamp(c, 0, 0);
}

static inline void objm_ring_see(struct objm_ring_consumer *c, uint32_t n)
{
        c->seen += n;
        c->count += n;
        if (objm_unlikely(c->seen - c->head > c->at.size))
                c->head = c->seen - c->at.size; /* it has come that far at least */
}

static inline void objm_ring_scan(struct objm_ring_consumer *c)
{
        uint32_t most = c->released + c->at.size - c->seen, n = 0;

        if (objm_ring_restarted(c))
                c->origin = c->seen;
        while (n < most && n < OBJM_RING_SCAN && objm_ring_has_stamp(c, c->seen + n - c->origin, n))
                n++;
        objm_ring_see(c, n);
}

/* While polling: is there something that readable() will find? Looks at stamps, and now and then at head. */
static inline bool objm_ring_look(struct objm_ring_consumer *c)
{
        if (c->next != c->seen || objm_ring_has_stamp(c, c->seen - c->origin, 0) || objm_ring_restarted(c))
                return true;
        return objm_unlikely(++c->looks % OBJM_RING_LOOKS == 0) &&
               (int32_t)(atomic_load_explicit(&c->at.head->value, memory_order_relaxed) - c->seen) > 0;
}

static inline int objm_ring_read_head(struct objm_ring_consumer *c)
{
        uint32_t head = atomic_load_explicit(&c->at.head->value, memory_order_acquire);

        if (objm_unlikely(!objm_ring_reachable(c->head, head, c->released + c->at.size)))
                return -EPROTO;
        c->head = head;
        if ((int32_t)(head - c->seen) <= 0)
                return 0;
        objm_ring_see(c, head - c->seen);
        c->origin = atomic_load_explicit(&c->at.head->origin, memory_order_relaxed);
        return (int)(c->seen - c->next);
}

/*
 * How many entries can be taken. Looks for more when none is known of; at the producer's head when no stamp tells of
 * any. -EPROTO: that head is a lie.
 */
static inline int objm_ring_readable(struct objm_ring_consumer *c)
{
        if (c->next == c->seen)
                objm_ring_scan(c);
        return c->next == c->seen ? objm_ring_read_head(c) : (int)(c->seen - c->next);
}

/* Copies the next entry; objm_ring_readable() has said that there is one. Its place stays taken until release(). */
static inline void objm_ring_take(struct objm_ring_consumer *c, struct objm_ring_entry *ret_entry)
{
        objm_ring_entry_load(ret_entry, &c->at.entries[(c->next - c->origin) & (c->at.size - 1)]);
        c->next++;
}

/* Copies the entry that @ahead calls of take() later would, which the producer may still change. */
static inline void objm_ring_peek(const struct objm_ring_consumer *c, uint32_t ahead, struct objm_ring_entry *ret_entry)
{
        objm_ring_entry_load(ret_entry, &c->at.entries[(c->next + ahead - c->origin) & (c->at.size - 1)]);
}

/* Gives the places of all that was taken back to the producer. */
static inline void objm_ring_release(struct objm_ring_consumer *c)
{
        c->released = c->next;
        atomic_store_explicit(&c->at.tail->value, c->next, memory_order_release);
}

/* Once awake, and before it looks again. */
static inline void objm_ring_awake(struct objm_ring_consumer *c)
{
        atomic_store_explicit(&c->at.asleep->value, 0, memory_order_relaxed);
}

/*
 * 0: there is nothing, and a doorbell will come; sleep, then objm_ring_awake(). More: as many entries are there after
 * all. -EPROTO as in readable(). Unless it is 0 the consumer counts as awake. Releases what was taken: a producer that
 * waits for room would not ring.
 */
static inline objm_must_check int objm_ring_sleep(struct objm_ring_consumer *c)
{
        int n;

        if (c->released != c->next)
                objm_ring_release(c);
        atomic_store_explicit(&c->at.asleep->value, 1, memory_order_relaxed);
        objm_ring_fence(1);
        n = objm_ring_readable(c);
        if (n)
                objm_ring_awake(c);
        return n;
}

#endif
