/*
 * base/mutex.h - ranked locks. A thread may only take locks of rising rank; debug builds keep a
 * list per thread and abort on a wrong order. The ranks of the whole program stand here, and no
 * network wait, callback or FUSE reply happens under any of ranks 10 to 40.
 */
#ifndef ADAFS_BASE_MUTEX_H
#define ADAFS_BASE_MUTEX_H

#include <pthread.h>
#include <stdint.h>

/* Who must hold what, checked by clang's thread safety analysis. */
#ifdef __clang__
#define ADAFS_CAPABILITY __attribute__((capability("mutex")))
#define ADAFS_REQUIRES(lock) __attribute__((requires_capability(lock)))
#define ADAFS_ACQUIRE(lock) __attribute__((acquire_capability(lock)))
#define ADAFS_RELEASE(lock) __attribute__((release_capability(lock)))
/*
 * Not checked: returns with the lock held or not, or lets go of its caller's meanwhile. Say which.
 */
#define ADAFS_UNCHECKED __attribute__((no_thread_safety_analysis))
#else
#define ADAFS_CAPABILITY
#define ADAFS_REQUIRES(lock)
#define ADAFS_ACQUIRE(lock)
#define ADAFS_RELEASE(lock)
#define ADAFS_UNCHECKED
#endif
/* Parses in C from clang 19 on only, so it is a comment that looks like one. */
#define ADAFS_GUARDED_BY(lock)

enum adafs_lock_rank {
	ADAFS_RANK_NODES = 10,     /* inode table of the filesystem */
	ADAFS_RANK_TREE = 15,      /* one directory's cache */
	ADAFS_RANK_HANDLE = 20,    /* one open file, its spool */
	ADAFS_RANK_CACHE = 30,     /* block cache */
	ADAFS_RANK_FOREMAN = 32,   /* the foreman's table of jobs and its queue */
	ADAFS_RANK_VIEW = 35,      /* the published snapshot */
	ADAFS_RANK_QUEUE = 40,     /* request queues: HTTP, worker pool, notifier */
	ADAFS_RANK_SCHEDULER = 45, /* the emulator's task scheduler */
	ADAFS_RANK_STORE = 50,     /* the emulator's stores */
	ADAFS_RANK_LEAF = 90,      /* counters and other leaves: nothing is taken under it */
};

struct ADAFS_CAPABILITY adafs_mutex {
	pthread_mutex_t mutex;
	enum adafs_lock_rank rank;
};

/* A condition bound to the monotonic clock. */
struct adafs_cond {
	pthread_cond_t cond;
};

void adafs_mutex_init(struct adafs_mutex *m, enum adafs_lock_rank rank);
void adafs_mutex_clear(struct adafs_mutex *m);
void adafs_mutex_lock(struct adafs_mutex *m) ADAFS_ACQUIRE(m);
void adafs_mutex_unlock(struct adafs_mutex *m) ADAFS_RELEASE(m);

void adafs_cond_init(struct adafs_cond *c);
void adafs_cond_clear(struct adafs_cond *c);
/* Wait in a `while`: spurious wake-ups happen. */
void adafs_cond_wait(struct adafs_cond *c, struct adafs_mutex *m);
/* Wait until the monotonic time deadline_ms (adafs_clock_mono_ms). Returns 0 or -ETIMEDOUT. */
int adafs_cond_wait_until(struct adafs_cond *c, struct adafs_mutex *m, uint64_t deadline_ms);
void adafs_cond_signal(struct adafs_cond *c);
void adafs_cond_broadcast(struct adafs_cond *c);

#endif
