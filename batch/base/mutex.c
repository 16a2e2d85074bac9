/*
 * base/mutex.c - pthread mutexes and conditions; debug builds know which locks a thread holds, and
 * abort when one is taken under another of the same or a higher rank.
 */
#include "batch/base/mutex.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#ifndef NDEBUG
#define MAX_HELD 8
static _Thread_local struct {
	const struct adafs_mutex *lock[MAX_HELD];
	int n;
} held;

static void held_push(const struct adafs_mutex *m)
{
	for (int i = 0; i < held.n; i++) {
		if (held.lock[i]->rank >= m->rank) {
			fprintf(stderr, "adafs: lock of rank %d taken under rank %d\n",
				(int)m->rank, (int)held.lock[i]->rank);
			abort();
		}
	}
	if (held.n == MAX_HELD)
		abort();
	held.lock[held.n++] = m;
}

static void held_pop(const struct adafs_mutex *m)
{
	for (int i = held.n - 1; i >= 0; i--) {
		if (held.lock[i] == m) {
			held.lock[i] = held.lock[--held.n];
			return;
		}
	}
	abort();
}
#else
static void held_push(const struct adafs_mutex *m)
{
	(void)m;
}

static void held_pop(const struct adafs_mutex *m)
{
	(void)m;
}
#endif

void adafs_mutex_init(struct adafs_mutex *m, enum adafs_lock_rank rank)
{
	pthread_mutex_init(&m->mutex, NULL);
	m->rank = rank;
}

void adafs_mutex_clear(struct adafs_mutex *m)
{
	pthread_mutex_destroy(&m->mutex);
}

ADAFS_UNCHECKED void adafs_mutex_lock(struct adafs_mutex *m)
{
	held_push(m);
	pthread_mutex_lock(&m->mutex);
}

ADAFS_UNCHECKED void adafs_mutex_unlock(struct adafs_mutex *m)
{
	held_pop(m);
	pthread_mutex_unlock(&m->mutex);
}

void adafs_cond_init(struct adafs_cond *c)
{
	pthread_condattr_t attr;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&c->cond, &attr);
	pthread_condattr_destroy(&attr);
}

void adafs_cond_clear(struct adafs_cond *c)
{
	pthread_cond_destroy(&c->cond);
}

void adafs_cond_wait(struct adafs_cond *c, struct adafs_mutex *m)
{
	pthread_cond_wait(&c->cond, &m->mutex);
}

int adafs_cond_wait_until(struct adafs_cond *c, struct adafs_mutex *m, uint64_t deadline_ms)
{
	struct timespec ts = { .tv_sec = (time_t)(deadline_ms / 1000),
			       .tv_nsec = (long)(deadline_ms % 1000) * 1000000 };
	return pthread_cond_timedwait(&c->cond, &m->mutex, &ts) == ETIMEDOUT ? -ETIMEDOUT : 0;
}

void adafs_cond_signal(struct adafs_cond *c)
{
	pthread_cond_signal(&c->cond);
}

void adafs_cond_broadcast(struct adafs_cond *c)
{
	pthread_cond_broadcast(&c->cond);
}
