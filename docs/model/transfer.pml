/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
 *
 * What one side sends to the other: docs/protocol.md, sections 2 (fragments), 4, 5, 6 (receiver not ready) and 7
 * (writes), over connections that end and begin again (section 3, whose rules handshake.pml has).
 *
 * A sender has N packets to send, numbered u = 0, 1, ...; on the wire psn = u modulo M. Every third packet is a write, to
 * target address u modulo SLOTS, whose application writes there again only when the write before is complete or has
 * failed. The others are packets of two messages. An application that waits for nothing else sends as fast as it may.
 *
 * Safety: the network is two sets, of the packets and of the acknowledgement blocks ever sent: any of them arrives at
 * any time, any number of times, or never. A repetition on another path, with another attempt, is therefore nothing
 * new: all attempts of a psn are one element. What limits lateness is only that sequence numbers wrap: nothing
 * arrives that is older than half of them (M / 2; in truth 2^31 packets).
 * Progress (-DPROGRESS): two lines that lose at most LOSSES copies of a packet on end; timers as in section 5.
 *
 * Abstracted: congestion, RACK and round trips only choose when something is repeated: here that is any time (safety), or
 * as late as can be (progress: timers only, when nothing is on the way). Large messages, reads and atomics are made of
 * the same packets. Acknowledgements ride alone.
 */
#ifndef N
#define N 6
#endif
#ifndef W
#define W 2             /* the receiver's bitmap; in truth 1024 */
#endif
#ifndef M
#define M 8             /* psns; in truth 2^32 */
#endif
#ifndef SLOTS
#define SLOTS 1         /* addresses that are written to */
#endif
#ifndef FAILURES
#define FAILURES 0      /* connections that the sender ends and begins again */
#endif
#ifndef RESTARTS
#define RESTARTS 0      /* of the receiver */
#endif

#define PSN(u) ((u) % M)
#define DISTANCE(a, b) ((((a) - (b) + 2 * M + M / 2) % M) - M / 2)   /* signed, of two psns */
#define IS_WRITE(u) ((u) % 3 == 2)
#define SEQUENCE(u) (2 * ((u) - (u) / 3))                            /* of its first message */
#define BIT(i) (1 << (i))

/* -- Sender (packet_window, ack_handler, receiver_not_ready) ----------------------------------------- */
byte una, next;         /* u, not psn: ghosts too, but only PSN() of them is compared with what comes */
short acked;            /* of una + i */
byte connection = 1;    /* that the sender uses */
bool blocked;           /* rule "receiver not ready" */
short completed;        /* ghost, by u: reported to the application as done */
byte failures;

/* -- Receiver (seq_bitmap, receiver, placement) ------------------------------------------------------- */
byte base;              /* ghost u of the next expected psn */
short bitmap;           /* of base + i */
byte served = 1;        /* connection that its record is of */
byte message_next;
short held;             /* messages before their turn, by sequence */
bool refusing;
byte restarted;
bool gone;              /* another process lives there, which the sender does not know yet */

short placed;           /* ghost: packets whose frames have all been taken, by u */
int announced;          /* ghost: messages that the application was given, by sequence */
byte written[SLOTS];    /* the target's memory: 1 + the u that was written last; 0 none */

/* Fragments: one packet may be put together. */
#ifdef FRAGMENTS
bool gathering;
byte gathered_psn, half[2]; /* half[i]: 1 + the u it is of, 0 it is missing */
#endif

#ifndef PROGRESS
#define ROOM true       /* chosen with each arrival */
#define MORE_UNEXPECTED skip
#define MORE_WAITING skip
#define FEWER_WAITING skip
#define MAY_HOLD true
#else
#ifndef LOSSES
#define LOSSES 1
#endif
#ifndef MEMORY
#define MEMORY 2        /* messages that there is room for; half of it for those before their turn */
#endif
byte unexpected;        /* announced, and not taken by the application yet */
byte waiting;           /* held */
byte fruitless;         /* repetitions in vain */
#define ROOM (unexpected + waiting < MEMORY)
#define MORE_UNEXPECTED unexpected++
#define MORE_WAITING waiting++
#define FEWER_WAITING waiting--
#ifdef M_HELD_TAKES_ALL /* messages before their turn may keep out the one whose turn it is */
#define MAY_HOLD true
#else
#define MAY_HOLD (waiting < MEMORY / 2)
#endif
#endif

byte i, s, d, e, c, p;  /* scratch, 0 between steps */
bool refused;

/* -- A packet's frames are taken ------------------------------------------------------------------- */

inline write_frame(u)
{
    assert(written[(u) % SLOTS] < (u) + 1);         /* no late overwrite, and not twice */
    written[(u) % SLOTS] = (u) + 1
}

inline announce_held()
{
    do
    :: (held >> message_next) & 1 ->
        held = held & ~BIT(message_next);
        FEWER_WAITING;
        assert(!((announced >> message_next) & 1));
        announced = announced | BIT(message_next);
        message_next++;
        MORE_UNEXPECTED
    :: else -> break
    od
}

inline message_frame(q, room) /* refused if there is no room */
{
    if
#ifdef M_REPEATED_MESSAGE /* messages are not recognised when they repeat */
    :: q < message_next && room -> assert(!((announced >> (q)) & 1))
#else
    :: q < message_next                             /* a repetition: skipped */
#endif
    :: q == message_next && room ->
        assert(!((announced >> (q)) & 1));          /* at most once */
        announced = announced | BIT(q);
        message_next++;
        MORE_UNEXPECTED;
        announce_held()
    :: q > message_next && ((held >> (q)) & 1)      /* a repetition */
    :: q > message_next && !((held >> (q)) & 1) && room && MAY_HOLD ->
        held = held | BIT(q);
        MORE_WAITING
    :: else -> refused = true
    fi
}

inline mark(u)
{
    bitmap = bitmap | BIT(u - base);
    do
    :: bitmap & 1 -> bitmap = bitmap >> 1; base++
    :: else -> break
    od;
#if defined(FRAGMENTS) && !defined(M_PLACE_STAYS)
    if /* a packet of which pieces are there has come whole */
    :: gathering && PSN(u) == gathered_psn -> gathering = false; gathered_psn = 0; half[0] = 0; half[1] = 0
    :: else
    fi
#endif
}

/* Of a connection before (mutants only): it looks like the packet u + delta of this one, whose psn it bears. */
#ifdef M_OLD_CONNECTION
byte delta, looks;
#define LOOKS looks
#else
#define LOOKS 0
#endif

/* All frames of the packet u are here; whose psn is in the window and new. Room: 2 for all frames, 1 for the first, 0. */
inline take(u, room)
{
    refused = false;
    if
    :: IS_WRITE(u) ->                               /* refused before its first frame takes effect, or not at all */
#ifdef M_WRITE_HALF_REFUSED
        write_frame(u);
        refused = (room == 1)
#else
        if
        :: room == 2 -> write_frame(u)
        :: else -> refused = true
        fi
#endif
    :: else ->
        message_frame(SEQUENCE(u), (room > 0 && ROOM));
        if
        :: refused
        :: else -> message_frame(SEQUENCE(u) + 1, (room > 1 && ROOM))
        fi
    fi;
    if
    :: refused -> refusing = true
    :: else -> placed = placed | BIT(u)
    fi;
    if
#ifndef M_REFUSED_IS_ACKED
    :: refused
#endif
    :: else -> mark(u + LOOKS)
    fi;
    refused = false
}

/* SeqBitmap::check() */
#ifdef M_NO_BITMAP
#define FRESH(u) (DISTANCE(PSN(u), PSN(base)) >= 0 && DISTANCE(PSN(u), PSN(base)) < W)
#else
#define FRESH(u) (DISTANCE(PSN(u), PSN(base)) >= 0 && DISTANCE(PSN(u), PSN(base)) < W && \
                  !((bitmap >> DISTANCE(PSN(u), PSN(base))) & 1))
#endif

inline piece(u, h) /* half h of the packet u */
{
    if
    :: FRESH(u) ->
        if
#ifdef M_PIECES_OF_TWO
        :: gathering
#else
        :: gathering && gathered_psn == PSN(u)
#endif
        :: else -> gathering = true; gathered_psn = PSN(u); half[0] = 0; half[1] = 0
        fi;
        half[h] = u + 1;
        if
        :: half[0] != 0 && half[1] != 0 ->
            assert(half[0] == half[1]);             /* never of pieces of two packets */
            gathering = false; gathered_psn = 0; half[0] = 0; half[1] = 0;
            take(u, 2)
        :: else
        fi
    :: else
    fi
}

/* -- An acknowledgement block arrives: section 4 ----------------------------------------------------- */

inline release(k) /* una + k is acknowledged */
{
    if
    :: !((acked >> (k)) & 1) ->
        acked = acked | BIT(k);
#ifdef LIAR
        assert(una + k < next);                     /* it has been sent, at least */
#else
        assert((placed >> (una + k)) & 1);          /* complete: placed */
#endif
        completed = completed | BIT(una + k)
    :: else
    fi
}

#ifdef M_ACK_OF_UNSENT
#define SENT(k, s) true
#else
#define SENT(k, s) ((k) < (s))
#endif

inline block(cumulative, bits, not_ready) /* cumulative: a psn */
{
    d = (DISTANCE(cumulative, PSN(una)) + M) % M;
    if
#ifndef M_STALE_ACK
    :: d >= M / 2                                   /* stale */
#endif
#ifndef M_ACK_OF_UNSENT
    :: d < M / 2 && d > next - una                  /* of what was never sent */
#endif
    :: else ->
        s = next - una;
        p = 0;
        do
        :: p < d && SENT(p, s) -> release(p); p++
        :: else -> break
        od;
        p = 0;
        do
        :: p < W && SENT(d + p, s) ->
            if
            :: ((bits) >> p) & 1 -> release(d + p)
            :: else
            fi;
            p++
        :: else -> break
        od;
#ifdef PROGRESS
        if
        :: acked -> fruitless = 0
        :: !acked && fruitless >= 3 -> fruitless = 2  /* heard: the oldest goes again */
        :: else
        fi;
#endif
        do
        :: acked & 1 -> acked = acked >> 1; una++
        :: else -> break
        od;
        blocked = not_ready
    fi;
    d = 0; s = 0; p = 0
}

/* The application may hand over packet `next`: a write only when the one before to that address is complete. */
#define MAY_SEND (next < N && next - una < W && !blocked && (!IS_WRITE(next) || next < 3 * SLOTS || \
                  ((completed >> (next - 3 * SLOTS)) & 1) || next - 3 * SLOTS < first))
byte first;             /* ghost: the first u of this connection: all before are complete or have failed */

#ifndef PROGRESS

/* -- Safety ------------------------------------------------------------------------------------------- */
short sent;             /* set of packets of this connection of the sender's */
short sent_before;      /* and of the one before, if the receiver still serves that */
short pieces[2];
byte blocks[N + 1];     /* set of acknowledgement blocks, by cumulative: one bit for each bitmap and flag */

inline acknowledge() /* may be sent at any time: at once, as it may also arrive at any time */
{
    if
    :: served == connection -> blocks[base] = blocks[base] | BIT((bitmap >> 1) * 2 + refusing)
    :: else                                         /* under an identifier that the sender knows no more */
    fi
}

inline tidy() /* what is stale by now makes no difference any more */
{
    i = 0;
    do
    :: i < N + 1 ->
        if
        :: i + M / 2 < una -> blocks[i] = 0         /* older than half of all psns */
        :: else
        fi;
        i++
    :: else -> break
    od;
    i = 0
}

inline begin_again() /* what was outstanding has failed */
{
#ifdef M_OLD_CONNECTION
    delta = next - una;
#endif
#ifdef M_OLD_ACKS /* they look like those of packets whose psn is as long after the first of this connection */
    d = next - una;
    i = N + 1;
    do
    :: i > 0 -> i--; blocks[i] = (i >= d -> blocks[i - d] : 0)
    :: else -> break
    od;
    d = 0;
#else
    i = 0;
    do
    :: i < N + 1 -> blocks[i] = 0; i++
    :: else -> break
    od;
#endif
    i = 0;
    connection++;
    una = next; first = next; acked = 0; blocked = false
}

active proctype world()
{
    do
    :: d_step { MAY_SEND -> sent = sent | BIT(next); next++ }
    /* A packet arrives; c: whether it is of the connection before, e: how much room there is. */
    :: atomic {
            i = 0;
            do
            :: i < N - 1 -> i++
            :: break
            od;
            if
            :: (sent >> i) & 1 && served == connection
#ifdef M_OLD_CONNECTION /* identifiers come twice */
            :: (sent_before >> i) & 1 -> looks = (served == connection -> delta : 0)
#else
            :: (sent_before >> i) & 1 && served < connection
#endif
            fi;
#ifndef M_OLDER_THAN_WRAP
            i + M / 2 >= base;
#endif
            if
            :: e = 2
            :: e = 1
            :: e = 0
            fi;
            d_step {
                if
                :: FRESH(i + LOOKS) -> take(i, e)
                :: else
                fi;
#ifdef M_OLD_CONNECTION
                looks = 0;
#endif
                acknowledge();
                i = 0; e = 0
            }
        }
#ifdef FRAGMENTS
    :: atomic { /* and in fragments, after the MTU fell */
            i = 0;
            do
            :: i < N - 1 -> i++
            :: break
            od;
            (sent >> i) & 1 && served == connection && i + M / 2 >= base;
            if
            :: e = 0
            :: e = 1
            fi;
            d_step { piece(i, e); acknowledge(); i = 0; e = 0 }
        }
#endif
    :: d_step { refusing -> refusing = false; acknowledge() }
#ifdef LIAR
    :: atomic { /* a block of a receiver that acknowledges what it likes */
            i = 0;
            do
            :: i < M - 1 -> i++
            :: break
            od;
            c = 0;
            do
            :: c < BIT(W) - 1 -> c++
            :: break
            od;
            d_step { block(i, c, 0); i = 0; c = 0 }
        }
#endif
    :: atomic { /* a block arrives */
            i = 0;
            do
            :: i < N -> i++
            :: break
            od;
            blocks[i] != 0;
            c = 0;
            do
            :: c < 2 * BIT(W - 1) - 1 -> c++
            :: break
            od;
            (blocks[i] >> c) & 1;
            d_step {
                block(PSN(i), (c / 2) * 2, c % 2);
                tidy();
                c = 0
            }
        }
    :: d_step { blocked -> blocked = false }        /* the wait is over */
    :: d_step { failures < FAILURES && next > una && !gone -> /* silence: what is outstanding has failed */
            failures++;
            sent_before = (served == connection -> sent : sent_before);
            sent = 0;
            begin_again() }
    :: d_step { served < connection && !gone ->      /* the proof of the new connection arrives: handshake.pml */
            served = connection;
            base = first; bitmap = 0; refusing = false;
            message_next = SEQUENCE(first); held = 0;
#ifdef FRAGMENTS
            gathering = false; gathered_psn = 0; half[0] = 0; half[1] = 0;
#endif
#ifndef M_OLD_CONNECTION
            sent_before = 0
#endif
            }
    :: d_step { restarted < RESTARTS && served == connection ->
            restarted++;
            sent_before = 0;
            served = 0;
            gone = true }
    :: d_step { gone -> /* an answer of the new process: the connection fails (rule 7) */
            gone = false;
            sent = 0;
            begin_again();
            /* the new process has memory of its own: what was written is history */
            i = 0;
            do
            :: i < SLOTS -> written[i] = 0; i++
            :: else -> break
            od;
            i = 0 }
    od
}
#else

/* -- Progress ------------------------------------------------------------------------------------------ */
#define LINE (W + 1)
#define QUESTION 255    /* section 3, rule 8 */
chan data = [LINE] of { byte };
chan acks = [LINE] of { byte, byte, bool };
byte lost[W + 1], lost_acks; /* on end: of the packet in each place of the window, of questions; of acknowledgements */
#define LOST_AT(u) (u == QUESTION -> W : u % W)
#define SILENT (empty(data) && empty(acks))

inline put(u)
{
    if
    :: len(data) < LINE -> data!u
    :: else                                         /* lost */
    fi
}

inline acknowledge()
{
    if
    :: len(acks) < LINE -> acks!base, bitmap, refusing
    :: else
    fi
}

proctype sender()
{
    do
    :: d_step { MAY_SEND && nfull(data) -> put(next); next++ }
#ifndef M_NO_REPEAT
    :: d_step { una < next && !blocked && SILENT -> /* the timeout of section 5 */
            if
            :: fruitless < 3 ->
                i = (fruitless == 0 -> next - 1 : una);
                do
                :: (acked >> (i - una)) & 1 -> i--
                :: else -> break
                od;
                put(i);
                i = 0;
                fruitless++
            :: else
            fi;
#ifndef M_NO_QUESTION
            if
            :: fruitless >= 3 -> put(QUESTION)
            :: else
            fi
#endif
            }
#endif
#ifndef M_NO_RETRY
    :: d_step { blocked && SILENT ->                /* the wait after a refusal is over: everything again, oldest first */
            blocked = false;
            i = una;
            do
            :: i < next ->
                if
                :: (acked >> (i - una)) & 1
                :: else -> put(i)
                fi;
                i++
            :: else -> break
            od;
            i = 0 }
#endif
    od
}

inline arrives(u)
{
    lost[LOST_AT(u)] = 0;
    if
    :: u != QUESTION && FRESH(u) -> take(u, 2)
    :: else
    fi;
    acknowledge()
}

proctype data_line()
{
    byte u;
    do
    :: d_step { nempty(data) -> data?u; arrives(u); u = 0 }
    :: d_step { nempty(data) ->                     /* lost, if not too many of its copies were */
            data?u;
            if
            :: lost[LOST_AT(u)] < LOSSES -> lost[LOST_AT(u)]++
            :: else -> arrives(u)
            fi;
            u = 0 }
    od
}

proctype ack_line()
{
    byte b, bits;
    bool not_ready;
    do
    :: d_step { nempty(acks) ->
            acks?b, bits, not_ready;
            lost_acks = 0;
            block(PSN(b), bits, not_ready);
            b = 0; bits = 0; not_ready = false }
    :: d_step { nempty(acks) && lost_acks < LOSSES ->
            acks?b, bits, not_ready; lost_acks++;
            b = 0; bits = 0; not_ready = false }
    od
}

proctype application()                              /* of the receiver */
{
    do
    :: d_step { unexpected > 0 ->
            unexpected--;
            if
            :: refusing -> refusing = false; acknowledge()
            :: else
            fi }
    od
}

bool tick;
proctype clock()        /* where all may come to a stop, an endless run of it is to be seen */
{
    do
    :: tick = !tick
    od
}

init
{
    atomic {
        run sender();
        run data_line();
        run ack_line();
        run application();
        run clock()
    }
}

ltl all_complete { <> (completed == BIT(N) - 1) }
#endif
