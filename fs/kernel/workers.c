/*
 * workers.c - a pool of threads with small stacks. A job that is queued while no thread idles
 * starts one, up to the maximum; a thread that idles for a while ends. Any thread may queue.
 */
#include "fs/kernel/workers.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>

#include "batch/base/clock.h"
#include "batch/base/log.h"
#include "batch/base/mutex.h"

#define STACK_SIZE (512 * 1024)
#define IDLE_MS 10000
#define MAX_QUEUED 65536

struct job {
	struct job *next;
	void (*fn)(void *arg);
	void *arg;
};

struct workers {
	struct adafs_mutex lock;
	struct adafs_cond job_avail;
	struct adafs_cond thread_ended;
	struct job *head, **tail;
	unsigned n_queued, n_threads, n_idle, max;
	bool stopping;
};

struct workers *workers_new(unsigned max, struct adafs_err *reterr)
{
	struct workers *w = calloc(1, sizeof(*w));
	if (!w) {
		adafs_err_set(reterr, -ENOMEM, "out of memory for the workers");
		return NULL;
	}
	adafs_mutex_init(&w->lock, ADAFS_RANK_QUEUE);
	adafs_cond_init(&w->job_avail);
	adafs_cond_init(&w->thread_ended);
	w->tail = &w->head;
	w->max = max;
	return w;
}

static struct job *next_job_locked(struct workers *w)
{
	struct job *j = w->head;
	w->head = j->next;
	if (!w->head)
		w->tail = &w->head;
	w->n_queued--;
	return j;
}

/* Wait for a job. False: none came for a while, or the pool ends. */
static bool wait_job_locked(struct workers *w)
{
	uint64_t deadline = adafs_clock_mono_ms() + IDLE_MS;
	while (!w->head) {
		if (w->stopping)
			return false;
		w->n_idle++;
		int rc = adafs_cond_wait_until(&w->job_avail, &w->lock, deadline);
		w->n_idle--;
		if (rc && !w->head)
			return false;
	}
	return true;
}

static void *worker_main(void *arg)
{
	struct workers *w = arg;
	adafs_mutex_lock(&w->lock);
	while (wait_job_locked(w)) {
		struct job *j = next_job_locked(w);
		adafs_mutex_unlock(&w->lock);
		j->fn(j->arg);
		free(j);
		adafs_mutex_lock(&w->lock);
	}
	w->n_threads--;
	adafs_cond_broadcast(&w->thread_ended);
	adafs_mutex_unlock(&w->lock);
	return NULL;
}

/* Signals are for the main thread, so a new thread is born with all of them blocked. */
static int start_thread(struct workers *w)
{
	sigset_t all, old;
	sigfillset(&all);
	pthread_attr_t attr;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_SIZE);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	pthread_t thread;
	int rc = pthread_create(&thread, &attr, worker_main, w);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	return -rc;
}

int workers_run(struct workers *w, void (*fn)(void *arg), void *arg)
{
	struct job *j = malloc(sizeof(*j));
	if (!j)
		return -ENOMEM;
	*j = (struct job){ .fn = fn, .arg = arg };
	adafs_mutex_lock(&w->lock);
	if (w->n_queued >= MAX_QUEUED) {
		adafs_mutex_unlock(&w->lock);
		free(j);
		return -EAGAIN;
	}
	/*
	 * n_idle still counts threads that a signal is about to wake: compare with the whole queue.
	 */
	if (w->n_idle <= w->n_queued && w->n_threads < w->max) {
		int rc = start_thread(w);
		if (!rc) {
			w->n_threads++;
		} else if (!w->n_threads) {
			adafs_mutex_unlock(&w->lock);
			free(j);
			return rc;
		}
	}
	*w->tail = j;
	w->tail = &j->next;
	w->n_queued++;
	adafs_cond_signal(&w->job_avail);
	adafs_mutex_unlock(&w->lock);
	return 0;
}

void workers_free(struct workers *w)
{
	if (!w)
		return;
	adafs_mutex_lock(&w->lock);
	w->stopping = true;
	adafs_cond_broadcast(&w->job_avail);
	while (w->n_threads)
		adafs_cond_wait(&w->thread_ended, &w->lock);
	adafs_mutex_unlock(&w->lock);
	adafs_cond_clear(&w->job_avail);
	adafs_cond_clear(&w->thread_ended);
	adafs_mutex_clear(&w->lock);
	free(w);
}
