/* emulator/traps.c - the table of traps, their values, and the draws. */
#include "batch/emulator/traps.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "batch/base/mutex.h"
#include "batch/base/nearest.h"

struct trap_kind {
	const char *name, *meaning;
	double min, max, initial;
};

static const struct trap_kind kinds[TRAP_COUNT] = {
	[TRAP_JOB_QUOTA] = { "job_quota", "active jobs allowed, 0: any", 0, 1e6, 0 },
	[TRAP_CORE_QUOTA] = { "core_quota", "nodes allowed in all pools, 0: any", 0, 1e6, 0 },
	[TRAP_BUSY_RATE] = { "busy_rate", "share of requests answered 503 or 429", 0, 1, 0 },
	[TRAP_RETRY_AFTER] = { "retry_after", "Retry-After of those, seconds", 0, 3600, 0 },
	[TRAP_LOST_REPLY_RATE] = { "lost_reply_rate", "share of requests done but not answered", 0,
				   1, 0 },
	[TRAP_CUT_RATE] = { "cut_rate", "share of reply bodies cut in the middle", 0, 1, 0 },
	[TRAP_SLOW_BYTES] = { "slow_bytes", "bytes a second of a reply body, 0: any", 0, 1e12, 0 },
	[TRAP_ALLOCATION_DELAY] = { "allocation_delay", "seconds until a node exists", 0, 86400,
				    0 },
	[TRAP_PREEMPT_EVERY] = { "preempt_every", "each n-th task loses its node at first, 0: none",
				 0, 1e6, 0 },
	[TRAP_SAS_CLOCK] = { "sas_clock", "seconds ahead when SAS are checked", -1e9, 1e9, 0 },
	[TRAP_POLICY_DELAY] = { "policy_delay", "seconds until a changed access policy is obeyed",
				0, 86400, 0 },
	[TRAP_STALE_COUNTS] = { "stale_counts", "seconds that task counts lag behind", 0, 86400,
				0 },
	[TRAP_CLOCK_SPEED] = { "clock_speed", "factor of the time of autoscale and resizes", 0.001,
			       1e5, 1 },
	[TRAP_BLOCK_LIFE] = { "block_life", "seconds that uncommitted blocks live", 0, 1e9,
			      604800 },
	[TRAP_SEED] = { "seed", "of the draws that rates make", 0, 4294967295.0, 1 },
};

struct traps {
	_Atomic double value[TRAP_COUNT];
	_Atomic uint64_t draw;
	_Atomic uint64_t events[TRAP_COUNT];
	struct adafs_mutex lock; /* one setter at a time */
};

struct traps *traps_new(void)
{
	struct traps *t = calloc(1, sizeof(*t));
	if (!t)
		return NULL;
	adafs_mutex_init(&t->lock, ADAFS_RANK_LEAF);
	traps_reset(t);
	return t;
}

void traps_free(struct traps *t)
{
	if (t)
		adafs_mutex_clear(&t->lock);
	free(t);
}

void traps_reset(struct traps *t)
{
	for (int i = 0; i < TRAP_COUNT; i++) {
		atomic_store(&t->value[i], kinds[i].initial);
		atomic_store(&t->events[i], 0);
	}
	atomic_store(&t->draw, 0);
}

double trap_value(const struct traps *t, enum trap which)
{
	return t ? atomic_load(&t->value[which]) : kinds[which].initial;
}

/* splitmix64: the n-th draw of a seed needs no lock, and a seed repeats itself. */
static uint64_t mixed(uint64_t x)
{
	x += UINT64_C(0x9e3779b97f4a7c15);
	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

bool trap_strikes(struct traps *t, enum trap which)
{
	double rate = trap_value(t, which);
	if (!t || rate <= 0)
		return false;
	uint64_t seed = (uint64_t)trap_value(t, TRAP_SEED);
	uint64_t x = mixed((seed << 32) ^ mixed(atomic_fetch_add(&t->draw, 1)));
	return (double)(x >> 11) * 0x1p-53 < rate;
}

bool trap_nth(struct traps *t, enum trap which)
{
	uint64_t every = (uint64_t)trap_value(t, which);
	return t && every && (atomic_fetch_add(&t->events[which], 1) + 1) % every == 0;
}

static int find(const char *name, struct adafs_err *reterr)
{
	const char *names[TRAP_COUNT];
	for (int i = 0; i < TRAP_COUNT; i++) {
		if (strcmp(kinds[i].name, name) == 0)
			return i;
		names[i] = kinds[i].name;
	}
	const char *nearest = adafs_nearest(name, names, TRAP_COUNT, 4);
	return adafs_err_set(reterr, -EINVAL, "there is no trap '%s'; %s%s%s", name,
			     nearest ? "did you mean '" : "known are those of adafs-emulator(1)",
			     nearest ? nearest : "", nearest ? "'?" : "");
}

static int parse_one(char *text, double value[TRAP_COUNT], bool set[TRAP_COUNT],
		     struct adafs_err *reterr)
{
	char *equals = strchr(text, '=');
	if (!equals)
		return adafs_err_set(reterr, -EINVAL, "'%s' is not NAME=VALUE", text);
	*equals = 0;
	int which = find(text, reterr);
	if (which < 0)
		return which;
	const struct trap_kind *k = &kinds[which];
	char *end;
	double v = strtod(equals + 1, &end);
	if (end == equals + 1 || *end || !(v >= k->min && v <= k->max))
		return adafs_err_set(reterr, -EINVAL,
				     "trap '%s' takes a number from %g to %g, not '%s'", k->name,
				     k->min, k->max, equals + 1);
	value[which] = v;
	set[which] = true;
	return 0;
}

int traps_set(struct traps *t, const char *text, struct adafs_err *reterr)
{
	double value[TRAP_COUNT];
	bool set[TRAP_COUNT] = { false };
	ADAFS_FREE char *copy = strdup(text);
	if (!copy)
		return adafs_err_set(reterr, -ENOMEM, "out of memory");
	char *save = NULL;
	for (char *line = strtok_r(copy, " ,\t\r\n", &save); line;
	     line = strtok_r(NULL, " ,\t\r\n", &save)) {
		int rc = parse_one(line, value, set, reterr);
		if (rc < 0)
			return rc;
	}
	adafs_mutex_lock(&t->lock);
	for (int i = 0; i < TRAP_COUNT; i++) {
		if (!set[i])
			continue;
		atomic_store(&t->value[i], value[i]);
		atomic_store(&t->events[i], 0);
		if (i == TRAP_SEED)
			atomic_store(&t->draw, 0);
	}
	adafs_mutex_unlock(&t->lock);
	return 0;
}

int traps_print(const struct traps *t, struct adafs_buf *ret)
{
	int rc = 0;
	for (int i = 0; rc == 0 && i < TRAP_COUNT; i++) {
		ADAFS_FREE char *line = adafs_fmt("%s=%.10g # %s\n", kinds[i].name,
						  trap_value(t, (enum trap)i), kinds[i].meaning);
		rc = line ? adafs_buf_adds(ret, line) : -ENOMEM;
	}
	return rc;
}
