/*
 * emulator/traps.h - what goes wrong on purpose: a number for each fault of the services that tests
 * and rehearsals ask for. All are off (0, or what the table says) unless set. Values may change at
 * any time, from any thread; readers ask anew for every decision.
 */
#ifndef ADAFS_EMULATOR_TRAPS_H
#define ADAFS_EMULATOR_TRAPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "batch/base/buf.h"
#include "batch/base/err.h"

enum trap {
	TRAP_JOB_QUOTA,       /* active jobs that the account may have; 0: no limit */
	TRAP_CORE_QUOTA,      /* nodes that all pools together may have; 0: no limit */
	TRAP_BUSY_RATE,       /* share of requests answered 503 ServerBusy or 429 TooManyRequests */
	TRAP_RETRY_AFTER,     /* seconds that such an answer asks for; 0: it has no Retry-After */
	TRAP_LOST_REPLY_RATE, /* share of requests that are done and whose reply never comes */
	TRAP_CUT_RATE,        /* share of reply bodies cut in the middle */
	TRAP_SLOW_BYTES,      /* bytes a second of a reply body; 0: no limit */
	TRAP_ALLOCATION_DELAY, /* seconds until a node that was asked for exists */
	TRAP_PREEMPT_EVERY,    /* each so manieth task loses its node at its first start; 0: none */
	TRAP_SAS_CLOCK,        /* seconds that the clock runs ahead which SAS are checked with */
	TRAP_POLICY_DELAY,     /* seconds until a change of stored access policies is obeyed */
	TRAP_STALE_COUNTS,     /* seconds that task counts lag behind */
	TRAP_CLOCK_SPEED, /* factor of the time of autoscale: samples and intervals; default 1 */
	TRAP_BLOCK_LIFE,  /* seconds that uncommitted blocks live; default 604800 */
	TRAP_SEED,        /* of the draws that rates make; setting it starts them anew */
	TRAP_COUNT
};

struct traps;

/* All at their defaults. NULL: out of memory. */
struct traps *traps_new(void);
void traps_free(struct traps *t);

/* The number that is set. t NULL: the default, so that a service in a test needs no traps. */
double trap_value(const struct traps *t, enum trap which);
/* Draw once: true with the probability that the rate `which` says. */
bool trap_strikes(struct traps *t, enum trap which);
/* Count an event of which each value-th is struck (TRAP_PREEMPT_EVERY): true for that one. */
bool trap_nth(struct traps *t, enum trap which);

/*
 * Set by text: "busy_rate=0.2", several parted by blanks, commas or line ends; all or none is
 * taken. 0, or -EINVAL naming the trap, its range and the nearest known name.
 */
int traps_set(struct traps *t, const char *text, struct adafs_err *reterr) ADAFS_MUST_CHECK;
/* Back to the defaults. */
void traps_reset(struct traps *t);
/* "name=value" lines of all traps, each with its meaning behind a '#'. 0 or -ENOMEM. */
int traps_print(const struct traps *t, struct adafs_buf *ret);

#endif
