/* SPDX-License-Identifier: MIT */
/*
 * How the consumer of a ring goes to sleep and is woken: lib/concurrency/ring.h, one direction, statement by statement.
 *
 * Memory is weaker than that of x86: each store first goes into a buffer of its word (a channel) and reaches memory at
 * any later time, in any order with stores to other words (partial store order). A release store waits until what was
 * stored before it is out, a seq_cst fence until the buffers of its process are empty. Each word has one writer, which
 * keeps its own copy and never reads it back. The doorbell is the kernel's: rung at once, and it lasts.
 *
 * A wake-up that is lost shows as a consumer that is blocked for good, an invalid end state. An entry that is seen
 * before its contents fails an assertion. WITHOUT=1 and 2 leave out the consumer's and the producer's fence as
 * OBJM_RING_WITHOUT_FENCE does, 3 makes the store of head a plain one, 4 rings only when the flag was seen before
 * publishing, 5 goes to sleep without the second look: each of these must fail.
 *
 * The consumer of replies, as in lib/transport, counts in the flag how often it has gone to sleep, and the producer
 * wakes it once for each value (objm_ring_server_publish). KIND=1: by a message on a socket, which lasts. KIND=2: by a
 * futex on head, which does not: the kernel compares, and puts to sleep, in one step; a wake-up that comes before is
 * lost, and does not count. WITHOUT=6 leaves the count out, 7 the comparison, 8 has a wake-up count that woke nobody.
 */
#ifndef WITHOUT
#define WITHOUT 0
#endif
#ifndef KIND
#define KIND 0
#endif

#define COUNTS  16      /* more than the sleeps of a run; in C it is 2^30 */
#define SIZE    2       /* places */
#define INDEX   4       /* where indices begin again at 0; in C it is 2^32 */
#define ENTRIES 6       /* to send, so that indices begin again */

#define HEAD    0
#define TAIL    1
#define ASLEEP  2
#define PLACE   3       /* and the following SIZE - 1 */
#define WORDS   5

#define LEFT(a, b) ((a + INDEX - b) % INDEX)

byte memory[WORDS];
chan buffer[WORDS] = [2] of { byte };
byte bell = 0;
bit blocked = 0;        /* in the kernel */

#if KIND == 2
#define RING(flag) if :: flag != rung -> atomic { rung = (blocked || WITHOUT == 8 -> flag : 0); blocked = 0 } :: else fi
#elif KIND == 1
#define RING(flag) if :: flag != rung -> rung = flag; bell = 1 :: else fi
#else
#define RING(flag) bell = 1
#endif

#define STORE(word, value) buffer[word]!value
#define PRODUCER_STORES_DONE (empty(buffer[HEAD]) && empty(buffer[PLACE]) && empty(buffer[PLACE + 1]))
#define CONSUMER_STORES_DONE (empty(buffer[TAIL]) && empty(buffer[ASLEEP]))

active proctype memory_system()
{
        byte value;

end:    do
        :: atomic { buffer[HEAD]?value -> memory[HEAD] = value }
        :: atomic { buffer[TAIL]?value -> memory[TAIL] = value }
        :: atomic { buffer[ASLEEP]?value -> memory[ASLEEP] = value }
        :: atomic { buffer[PLACE]?value -> memory[PLACE] = value }
        :: atomic { buffer[PLACE + 1]?value -> memory[PLACE + 1] = value }
        od
}

active proctype producer()
{
        byte sent = 0, next = 0, tail = 0, flag = 0, rung = 0;

        do
        :: sent == ENTRIES -> break
        :: sent < ENTRIES ->
                do                                              /* objm_ring_writable */
                :: LEFT(next, tail) < SIZE -> break
                :: LEFT(next, tail) == SIZE ->
                        memory[TAIL] != tail;                   /* it polls */
                        tail = memory[TAIL];
                        assert(LEFT(next, tail) <= SIZE)
                od;
                do                                              /* objm_ring_put, as often as there is room */
                :: sent < ENTRIES && LEFT(next, tail) < SIZE ->
                        STORE(PLACE + next % SIZE, sent + 1);
                        sent++;
                        next = (next + 1) % INDEX
                :: next != tail -> break
                od;
#if WITHOUT == 4
                flag = memory[ASLEEP];
#endif
#if WITHOUT != 3
                empty(buffer[PLACE]) && empty(buffer[PLACE + 1]);
#endif
                STORE(HEAD, next);                              /* objm_ring_publish */
#if WITHOUT != 2
                PRODUCER_STORES_DONE;
#endif
#if WITHOUT != 4
                flag = memory[ASLEEP];
#endif
                if
                :: flag -> RING(flag)
                :: else
                fi
        od
}

active proctype consumer()
{
        byte got = 0, next = 0, head = 0, sleeps = 0;

        do
        :: got == ENTRIES -> break
        :: got < ENTRIES ->
                head = memory[HEAD];                            /* objm_ring_readable */
                assert(LEFT(head, next) <= SIZE);
                if
                :: head != next ->
                        do                                      /* objm_ring_take */
                        :: head != next ->
                                assert(memory[PLACE + next % SIZE] == got + 1);
                                got++;
                                next = (next + 1) % INDEX
                        :: else -> break
                        od;
                        STORE(TAIL, next)                       /* objm_ring_release */
                :: head == next ->                              /* looks again, or */
                        skip
                :: head == next ->                              /* objm_ring_sleep */
                        sleeps = (KIND && WITHOUT != 6 -> sleeps % COUNTS + 1 : 1);
                        STORE(ASLEEP, sleeps);
#if WITHOUT != 1
                        CONSUMER_STORES_DONE;
#endif
#if WITHOUT != 5
                        head = memory[HEAD];
#endif
                        if
#if KIND == 2
                        :: head == next ->
                                atomic { blocked = (WITHOUT == 7 || memory[HEAD] == head -> 1 : 0) };
                                blocked == 0
#else
                        :: head == next -> bell == 1; bell = 0  /* sleeps until it is rung */
#endif
                        :: else
                        fi;
                        STORE(ASLEEP, 0)                        /* objm_ring_awake */
                fi
        od
}
