/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
 *
 * The stateless handshake: docs/protocol.md, section 3. Rules are quoted by their numbers there.
 *
 * Two addresses, A and B, at each of which one process lives at a time and may be replaced by another (RESTARTS
 * times), and, with -DSTRANGER=1, a third address S, whose owner sends anything, in anybody's name, that he can know.
 *
 * The network is the set of all packets that were ever sent: any of them arrives at any time, any number of times,
 * or never. That is loss, duplication, reordering and lateness at once, also of packets of dead processes. What a
 * process would repeat is therefore put there once, at the time when it might first be sent.
 *
 * Abstracted, and why that is sound:
 *  - identifiers are (incarnation, address, generation), not their keyed hash: nobody guesses 64 bits;
 *  - incarnations are no secret: the stranger puts in any;
 *  - sequenced packets and acknowledgements are one kind, PKT: here they only show that a record exists. What they
 *    carry is transfer.pml's;
 *  - no_room (rule 9) is left out: it makes and ends nothing but what silence may end as well (GIVE_UPS);
 *  - time: whatever a timer may do may happen at any time.
 * Progress (-DPROGRESS) has another network, for a set is not fair: two lines of packets, each of which loses at most
 * LOSSES packets of a kind on end, repeats DUPS in all, and has timers that repeat what is due when the line is empty.
 */
#ifndef GENS
#define GENS 2          /* connections that a process begins with one address */
#endif
#ifndef RESTARTS_A
#define RESTARTS_A 0
#endif
#ifndef RESTARTS_B
#define RESTARTS_B 0
#endif
#ifndef GIVE_UPS
#define GIVE_UPS 0      /* connections that end by silence, though the other side lives */
#endif
#ifndef NET
#define NET 48          /* packets in the set; more is an error of the scope */
#endif
#ifndef LINE
#define LINE 3
#endif

#define A 0
#define B 1
#define S 2

/* Incarnations: 0, 1 live at A, one after the other; 2, 3 at B; 4 is what the stranger calls himself. */
#define ADDRESS_OF(inc) ((inc) / 2)

/* Records: who has it and about whom. 0: A of B, 1: A of S, 2: B of A, 3: B of S. */
#define RECORD(at, of) ((at) * 2 + ((of) == S))
#define AT(i) ((i) / 2)
#define OF(i) ((i) % 2 == 1 -> S : 1 - (i) / 2)

/* ConnectionNames: the identifier of the generation `g` of a process for an address. */
#define NAMES (GENS + 1)
#define NAME(inc, i, g) (1 + ((inc) * 2 + (i) % 2) * NAMES + (g))
#define OWNER(x) (((x) - 1) / (2 * NAMES))
#define FOREIGN (1 + 8 * NAMES) /* an identifier of the stranger's own, or an invention of his */
#define IDS (FOREIGN + 1)

mtype = { none, idle, greeting, established };
typedef Record {
    mtype state = none;
    bool confirmed;
    bool questioning;   /* rule 8: a question is out, nothing has been heard since */
    bool used;          /* a PKT was sent */
    byte tx;            /* 0: the other side is not known yet */
    byte inc
};
Record rec[4];
byte begun[4];          /* connections begun with that address by this process; outlives the record */
byte process[2];        /* incarnation that lives at A, at B */
byte restarts[2];
byte give_ups;
bool over;              /* the scope is used up: nothing more happens */

#define RX(i) NAME(process[AT(i)], i, begun[i] - 1)
#define NEXT(i) NAME(process[AT(i)], i, begun[i])
#define KNOWS(i) (rec[i].tx != 0)
#define INDEX(x) (2 * ADDRESS_OF(OWNER(x)) + (((x) - 1) / NAMES) % 2)
/* No record is called so, and none ever will be: no identifier comes twice. */
#define DEAD(x) ((x) == FOREIGN || process[ADDRESS_OF(OWNER(x))] != OWNER(x) || \
                 ((x) - 1) % NAMES + 1 < begun[INDEX(x)] + (rec[INDEX(x)].state == none -> 1 : 0))

/* -- Ghosts: history that no process knows --------------------------------------------------------- */
byte met_by[IDS];       /* met_by[x] = y: there was a record called x of a process that calls the connection y */
#ifdef M_ADOPT
byte taken_as[IDS];     /* the identifier under which data of the connection called so were taken */
#endif
bool known[IDS];        /* identifiers that the stranger has been told, or has seen in a packet to S */

/* -- The network --------------------------------------------------------------------------------- */
/* A hello's incarnation and address are those of the process that `conn` names: no need to keep them. */
#define QUESTION 0      /* answer_wanted: an introduction if under == 0, else a proof or a question (with met) */
#define ANSWER 1        /* a hello without either */
#define MET 2           /* a hello with met alone */
#define PKT 3           /* anything but a hello */
#define PACKET(kind, dest, under, conn) (((((kind) * 2 + (dest)) * 64) + (under)) * 64 + (conn))
short net[NET];
byte packets;

short m;                /* scratch, 0 between steps */
byte j, k;
#ifdef PROGRESS
#ifndef LOSSES
#define LOSSES 1
#endif
#ifndef DUPS
#define DUPS 1
#endif
chan line[2] = [LINE] of { short };
byte lost[8], repeated;  /* lost on end, of each kind and line */
#define LOST lost[to * 4 + p / 8192]
#endif

inline post(what, where, to, name)
{
#ifdef PROGRESS
    m = PACKET(what, where, to, name);
    if
    :: len(line[where]) < LINE -> line[where]!m
    :: else /* lost */
    fi;
    m = 0
#else
    m = PACKET(what, where, to, name);
    k = 0;
    do
    :: k < packets && net[k] < m -> k++
    :: else -> break
    od;
    if
    :: k < packets && net[k] == m
    :: else ->
        assert(packets < NET);
        j = packets;
        do
        :: j > k -> net[j] = net[j - 1]; j--
        :: else -> break
        od;
        net[k] = m;
        packets++
    fi;
    m = 0; j = 0; k = 0
#endif
}

inline send(what_, where_, to_, name_)
{
    if
    :: (where_) == S -> known[to_] = true; known[name_] = true
    :: else -> post(what_, where_, to_, name_)
    fi
}

/* -- What ends and begins connections (lifecycle.cpp) --------------------------------------------- */

inline forget(i)
{
    rec[i].state = none;
    rec[i].confirmed = false;
    rec[i].questioning = false;
    rec[i].used = false;
    rec[i].tx = 0;
    rec[i].inc = 0
}

inline begin(i) /* a new generation: a new identifier */
{
    if
    :: begun[i] == GENS -> over = true
    :: else ->
        forget(i);
        begun[i]++;
        rec[i].state = idle;
        printf("    record %d begins %d\n", i, RX(i))
    fi
}

/* While a question is out, its answer cannot be told from one of a predecessor that is dead by now. */
#define FAIL_EXCUSED (kind != QUESTION && rec[r].questioning)

/* The connection ends with an error, because of a hello. */
inline fail(i)
{
    printf("    FAIL: connection %d of record %d ends\n", RX(i), i);
    assert(!forged || OF(i) == S);            /* never because of a stranger */
    if
    :: OF(i) != S && !DEAD(rec[i].tx) ->      /* though the other side lives, and still has the connection */
#if defined(M_STRICT) || RESTARTS_A + RESTARTS_B + GIVE_UPS == 0
        assert(false)
#elif !defined(M_ADOPT)
        assert(!rec[i].confirmed || FAIL_EXCUSED)
#else
        skip
#endif
    :: else
    fi;
    begin(i)
}

inline say_hello(i) /* what goes out, and is repeated, in this state: rules 1, 3, 8 */
{
    send(QUESTION, OF(i), rec[i].tx, RX(i))
}

inline confirm(i)
{
    printf("    record %d (%d, to %d) is confirmed\n", i, RX(i), rec[i].tx);
    assert(!forged || OF(i) == S);
    /* Agreement: the other side had a record under the name that we use, of the name that it uses. A late packet of
       another process that was told the same name may deceive us; then a question (rule 8) does what the proof
       would have done. */
#ifndef M_ADOPT /* which breaks this, too; the worse is to be seen */
    assert(OF(i) == S || rec[i].confirmed || met_by[rec[i].tx] == RX(i) || (kind == PKT && conn != rec[i].tx));
#endif
    rec[i].confirmed = true;
    rec[i].questioning = false
}

inline learn(i)
{
    assert(!forged || OF(i) == S);
    rec[i].tx = conn;
    rec[i].inc = inc;
    rec[i].state = established;
    /* Agreement: an identifier of the process that lives at the address, made for ours; no other. */
    assert(OF(i) == S || (conn != FOREIGN && OWNER(conn) == inc && ADDRESS_OF(inc) == OF(i)));
    assert(met_by[RX(i)] == 0);               /* no identifier comes twice */
    met_by[RX(i)] = conn;
    printf("    record %d (%d) learns %d\n", i, RX(i), conn)
}

/* -- A hello arrives at address `at`: under, kind, and of the frame: from, inc, conn ----------------- */
byte at, kind, under, from, inc, conn, r, n, x; /* 0 between steps, as is all that follows */
bool forged;
#define IS(i) (rec[i].state != none && RX(i) == under)

inline introduction() /* rules 2, 4 */
{
    r = RECORD(at, from);
    if
    :: rec[r].state != none && (!KNOWS(r) || (rec[r].inc == inc && rec[r].tx == conn)) ->
        send(ANSWER, from, conn, RX(r))
    :: else ->
        if
#ifdef M_NO_PROOF /* a record is made for whoever introduces himself */
        :: under == NEXT(r) || under == 0 ->
#else
        :: under == NEXT(r) ->
#endif
            if
            :: rec[r].state != none -> fail(r)
            :: else -> begin(r)
            fi;
            if
            :: over
            :: else ->
                learn(r);
                confirm(r);
                send(MET, OF(r), rec[r].tx, RX(r));
                say_hello(r)
            fi
        :: else -> send(ANSWER, from, conn, NEXT(r))
        fi
    fi
}

inline answer() /* under the identifier of record r: rules 3, 5, 7, 8 */
{
    if
#ifndef M_ANY_ADDRESS
    :: from != OF(r)                          /* an identifier belongs to an address */
#endif
    :: else ->
        if
        :: !KNOWS(r) ->
            learn(r);
            say_hello(r);
            if
            :: kind != ANSWER -> confirm(r); send(MET, OF(r), rec[r].tx, RX(r))
            :: else
            fi
        :: KNOWS(r) && (rec[r].inc != inc || rec[r].tx != conn) ->
            if
#ifndef M_PROOF_ENDS
            :: kind == QUESTION ->            /* late, or a successor: an answer finds out */
                send(ANSWER, from, conn, NEXT(r))
#endif
#ifndef M_LATE_ANSWER
            :: kind != QUESTION && rec[r].confirmed && !rec[r].questioning /* nothing was asked: it is late */
#endif
#ifdef M_ADOPT /* who is not confirmed yet goes on under the identifier that it is told now */
            :: kind == ANSWER && !rec[r].confirmed && rec[r].inc == inc ->
                rec[r].tx = conn;
                rec[r].used = false;
                met_by[RX(r)] = conn;
                say_hello(r)
#endif
            :: else -> fail(r)
            fi
        :: else ->
            if
            :: kind != ANSWER || rec[r].confirmed -> confirm(r)
            :: else
            fi
        fi
    fi
}

inline hello()
{
    if
    :: IS(RECORD(at, 1 - at)) -> r = RECORD(at, 1 - at); answer()
    :: IS(RECORD(at, S)) -> r = RECORD(at, S); answer()
    :: else ->
        if
        :: kind == QUESTION && from != at -> introduction()
        :: else                               /* an answer that is history */
        fi
    fi
}

inline packet() /* anything but a hello, from the process that calls the connection conn */
{
    if
    :: IS(RECORD(at, 1 - at)) -> r = RECORD(at, 1 - at)
    :: IS(RECORD(at, S)) -> r = RECORD(at, S)
    :: else -> r = 4
    fi;
    if
    :: r < 4 && KNOWS(r) ->
        /* Taken into the connection of another process? Its psn is out of the window, but by a chance of 2^-22. */
#ifdef M_NO_PSN_CHANCE
        assert(OF(r) == S || rec[r].tx == conn);
#endif
#ifdef M_ADOPT
        /* At most once: what was taken under one identifier is not taken under another. */
        assert(OF(r) == S || rec[r].tx != conn || taken_as[conn] == 0 || taken_as[conn] == under);
        if
        :: rec[r].tx == conn -> taken_as[conn] = under
        :: else
        fi;
#endif
        confirm(r)
    :: else
    fi
}

inline arrives()
{
    printf("kind %d arrives at %d under %d; from %d, incarnation %d, names %d; forged %d\n", kind, at, under, from, inc,
        conn, forged);
    if
    :: kind == PKT -> packet()
    :: else -> hello()
    fi;
    tidy()
}

/* -- Housekeeping: histories that can make no difference any more are made the same ------------------ */

inline tidy()
{
#if !defined(KEEP_HISTORY) && !defined(PROGRESS)
    n = 0;
    do
    :: n < packets ->
        conn = net[n] % 64;
        under = (net[n] / 64) % 64;
        kind = net[n] / 8192;
        if
        :: kind == QUESTION && !DEAD(conn) && under != 0 && DEAD(under) -> /* as good as an introduction */
            x = 1; from = 1 - ADDRESS_OF(OWNER(conn))
        :: kind == QUESTION && DEAD(conn) && (under == 0 || DEAD(under)) -> x = 2 /* nobody takes the answer */
        :: kind != QUESTION && DEAD(under) -> x = 2
#ifndef M_ANY_ADDRESS
        :: kind == ANSWER && INDEX(under) % 2 == 1 -> x = 2 /* from A or B, under a name that is for S */
#endif
        :: else -> x = 0
        fi;
        if
        :: x == 0 -> n++
        :: else ->
            packets--;
            j = n;
            do
            :: j < packets -> net[j] = net[j + 1]; j++
            :: else -> break
            od;
            net[packets] = 0;
            if
            :: x == 1 -> post(QUESTION, from, 0, conn); n = 0
            :: else
            fi
        fi
    :: else -> break
    od;
    n = 1;
    do
    :: n < FOREIGN -> known[n] = known[n] && !DEAD(n); n++
    :: else -> break
    od;
#endif
    n = 0; x = 0; j = 0; at = 0; kind = 0; under = 0; from = 0; inc = 0; conn = 0; r = 0; forged = false
}

/* -- What happens --------------------------------------------------------------------------------- */

inline restart(a, first)
{
    printf("restart at %d\n", a);
    restarts[a]++;
    process[a] = (first) + restarts[a];
    forget(2 * (a));
    forget(2 * (a) + 1);
    begun[2 * (a)] = 0;
    begun[2 * (a) + 1] = 0;
    tidy()
}

/* An application wants to send, and goes on after failures; and what else may happen to a record. */
#define APPLICATION(i) \
    :: d_step { !over && (rec[i].state == none || rec[i].state == idle) -> wish(i) } \
    :: d_step { !over && rec[i].state == established && !rec[i].used -> \
                rec[i].used = true; send(PKT, OF(i), rec[i].tx, RX(i)) } \
    :: d_step { !over && rec[i].confirmed && !rec[i].questioning -> rec[i].questioning = true } \
    :: d_step { !over && rec[i].state == idle -> evict(i) } \
    :: d_step { !over && give_ups < GIVE_UPS && (rec[i].state == greeting || rec[i].state == established) -> \
                give_up(i) }

inline wish(i)
{
    printf("record %d is wanted\n", i);
    if
    :: rec[i].state == none -> begin(i)
    :: else
    fi;
    if
    :: over
    :: else -> rec[i].state = greeting; say_hello(i)
    fi;
    tidy()
}

inline evict(i) /* make_room(): a record that serves nothing is given to another address */
{
#ifdef M_NAME_TWICE /* the generation goes with the record */
    begun[i] = 0;
#endif
    forget(i);
    tidy()
}

inline give_up(i) /* silence, section 8 */
{
    printf("record %d is given up\n", i);
    give_ups++;
    begin(i);
    tidy()
}

/* One of the identifiers in use or to be used at `a`, if the stranger knows it. All others are as good as none. */
#define A_NAME_OF(v, a) \
    if \
    :: rec[2 * (a)].state != none && known[RX(2 * (a))] -> v = RX(2 * (a)) \
    :: known[NEXT(2 * (a))] -> v = NEXT(2 * (a)) \
    :: rec[2 * (a) + 1].state != none && known[RX(2 * (a) + 1)] -> v = RX(2 * (a) + 1) \
    :: known[NEXT(2 * (a) + 1)] -> v = NEXT(2 * (a) + 1) \
    :: else \
    fi

inline unpack(p)
{
    conn = (p) % 64;
    under = ((p) / 64) % 64;
    at = ((p) / 4096) % 2;
    kind = (p) / 8192;
    inc = OWNER(conn);
    from = ADDRESS_OF(inc)
}

#ifndef PROGRESS
active proctype world()
{
    process[A] = 0;
    process[B] = 2;
    known[0] = true;
    known[FOREIGN] = true;

    do
    :: !over && packets > 0 -> /* a packet arrives */
        atomic {
            n = 0;
            do
            :: n + 1 < packets -> n++
            :: break
            od;
            d_step {
                m = net[n];
                n = 0;
                unpack(m);
                m = 0;
                arrives()
            }
        }
    APPLICATION(RECORD(A, B))
    APPLICATION(RECORD(B, A))
#ifdef STRANGER
    APPLICATION(RECORD(A, S))
#if STRANGER > 1
    APPLICATION(RECORD(B, S))
#endif
#endif
    :: d_step { !over && restarts[A] < RESTARTS_A -> restart(A, 0) }
    :: d_step { !over && restarts[B] < RESTARTS_B -> restart(B, 2) }
#ifdef STRANGER
    :: !over -> /* he sends a hello or another packet, with anything in it that he can know and that may matter */
        atomic {
            if
            :: at = A
            :: at = B
            fi;
            if
            :: from = 1 - at; inc = 4
            :: from = 1 - at; inc = process[1 - at]
            :: from = S; inc = 4
            fi;
            if
            :: kind = QUESTION
            :: kind = QUESTION; A_NAME_OF(under, at)
            :: kind = ANSWER; A_NAME_OF(under, at)
            :: kind = MET; A_NAME_OF(under, at)
            :: kind = PKT; A_NAME_OF(under, at)
            fi;
            if
            :: conn = FOREIGN
            :: from != S && kind != PKT; A_NAME_OF(conn, A)  /* in his own name: what goes to S he sees anyhow */
            :: from != S && kind != PKT; A_NAME_OF(conn, B)
            fi;
            d_step { forged = true; arrives() }
        }
#endif
    :: over -> break
    od
}

#else /* PROGRESS */

proctype wire(byte to)
{
    short p;
    do
    :: d_step { !over && nempty(line[to]) -> line[to]?p; LOST = 0; unpack(p); p = 0; arrives() }
    :: d_step { !over && nempty(line[to]) -> line[to]?<p>;
                if
                :: LOST < LOSSES -> LOST++; line[to]?p
                :: else -> line[to]?p; LOST = 0; unpack(p); arrives()
                fi;
                p = 0 }
    :: d_step { !over && nempty(line[to]) && repeated < DUPS -> /* and put behind all others */
                line[to]?p; line[to]!p; unpack(p); p = 0; repeated++; arrives() }
    :: over -> break
    od
}

proctype endpoint(byte i)
{
    do
#ifdef ONE_SIDED
    :: d_step { !over && i == 0 && (rec[i].state == none || rec[i].state == idle) -> wish(i) }
#else
    :: d_step { !over && (rec[i].state == none || rec[i].state == idle) -> wish(i) }
#endif
#ifndef M_NO_REPEAT
    :: d_step { !over && rec[i].state == greeting && empty(line[OF(i)]) -> say_hello(i) }
    :: d_step { !over && rec[i].state == established && !rec[i].confirmed && empty(line[OF(i)]) -> say_hello(i) }
#endif
    :: d_step { !over && rec[i].confirmed && empty(line[OF(i)]) -> /* data that nobody takes are followed by questions */
                rec[i].questioning = true;
                send(PKT, OF(i), rec[i].tx, RX(i));
                say_hello(i) }
    :: d_step { !over && restarts[AT(i)] < (i == 0 -> RESTARTS_A : RESTARTS_B) -> restart(AT(i), i) }
    :: over -> break
    od
}

bool tick;
proctype clock() /* where all may come to a stop, an endless run of it is to be seen */
{
    do
    :: tick = !tick
    od
}

init
{
    atomic {
        process[B] = 2;
#ifdef M_NO_REPEAT
        run clock();
#endif
        run wire(A);
        run wire(B);
        run endpoint(0);
        run endpoint(2)
    }
}

#define MET_EACH_OTHER (rec[0].confirmed && rec[2].confirmed && rec[0].tx == RX(2) && rec[2].tx == RX(0))
ltl meet { <> [] MET_EACH_OTHER }
#endif
