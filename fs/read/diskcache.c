/*
 * diskcache.c - the jobs of the disk cache and the threads that do them. Loads come before stores,
 * since a reader waits for them; they are bounded by the memory that they load into, stores by
 * MAX_STORES.
 */
#include "fs/read/diskcache.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "batch/base/cleanup.h"
#include "batch/base/file.h"
#include "batch/base/mutex.h"
#include "fs/read/diskcache_int.h"

#define N_THREADS 2
#define MAX_STORES 4

struct job {
	struct job *next;
	struct diskcache_range range;
	void *buf;
	const void *from;         /* stores: instead of buf */
	diskcache_loaded *loaded; /* NULL: a store */
	void (*stored)(void *arg);
	void *arg;
};

struct queue {
	struct job *first, **tail;
};

struct diskcache {
	struct diskcache_files files;
	struct adafs_mutex lock; /* rank QUEUE */
	struct adafs_cond changed;
	struct queue loads, stores;
	unsigned n_stores; /* queued or under way */
	bool stopping;
	bool scanned; /* one of the threads has begun to count what is there */
	pthread_t thread[N_THREADS];
	unsigned n_threads;
};

static void queue_init(struct queue *q)
{
	q->tail = &q->first;
}

static void queue_add(struct queue *q, struct job *j)
{
	*q->tail = j;
	q->tail = &j->next;
}

static struct job *queue_take(struct queue *q)
{
	struct job *j = q->first;
	if (j && !(q->first = j->next))
		q->tail = &q->first;
	return j;
}

static void run(struct diskcache *d, struct job *j)
{
	if (j->loaded) {
		j->loaded(j->arg, diskcache_files_read(&d->files, &j->range, j->buf));
	} else {
		diskcache_files_write(&d->files, &j->range, j->from);
		j->stored(j->arg);
		adafs_mutex_lock(&d->lock);
		d->n_stores--;
		adafs_mutex_unlock(&d->lock);
	}
	free(j);
}

static void *thread_main(void *arg)
{
	struct diskcache *d = arg;
	adafs_mutex_lock(&d->lock);
	bool scans = !d->scanned;
	d->scanned = true;
	if (scans) {
		adafs_mutex_unlock(&d->lock);
		diskcache_files_scan(&d->files);
		adafs_mutex_lock(&d->lock);
	}
	for (;;) {
		struct job *j = queue_take(&d->loads);
		if (!j)
			j = queue_take(&d->stores);
		if (!j && d->stopping)
			break;
		if (!j) {
			adafs_cond_wait(&d->changed, &d->lock);
			continue;
		}
		adafs_mutex_unlock(&d->lock);
		run(d, j);
		adafs_mutex_lock(&d->lock);
	}
	adafs_mutex_unlock(&d->lock);
	return NULL;
}

/* --- the object ------------------------------------------------------------------------------ */
/* What images show is for who mounted: nobody else may look into the directory, nor put something
 * there. */
static int own_directory(const char *dir, struct adafs_err *reterr)
{
	struct stat st;
	int rc = adafs_mkdir_p(dir, 0700);
	if (!rc && stat(dir, &st))
		rc = -errno;
	if (!rc && access(dir, W_OK))
		rc = -errno;
	if (rc)
		return adafs_err_set(reterr, rc, "disk_cache: cannot use '%s': %s", dir,
				     strerror(-rc));
	if (st.st_uid != geteuid() || (st.st_mode & 077))
		return adafs_err_set(
			reterr, -EPERM,
			"disk_cache: '%s' belongs to somebody else or is open to others: make it private with "
			"'chmod 700', or name another directory",
			dir);
	return 0;
}

static int start(struct diskcache *d, struct adafs_err *reterr)
{
	sigset_t all, old;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	int rc = 0;
	while (!rc && d->n_threads < N_THREADS) {
		rc = pthread_create(&d->thread[d->n_threads], NULL, thread_main, d);
		if (!rc)
			pthread_setname_np(d->thread[d->n_threads++], "adafs-disk");
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return rc ? adafs_err_set(reterr, -rc, "disk_cache: no thread: %s", strerror(rc)) : 0;
}

int diskcache_open(const char *dir, uint64_t limit, struct diskcache **ret,
		   struct adafs_err *reterr)
{
	int rc = own_directory(dir, reterr);
	if (rc)
		return rc;
	struct diskcache *d = calloc(1, sizeof(*d));
	if (!d)
		return adafs_err_set(reterr, -ENOMEM, "out of memory");
	adafs_mutex_init(&d->lock, ADAFS_RANK_QUEUE);
	adafs_cond_init(&d->changed);
	queue_init(&d->loads);
	queue_init(&d->stores);
	d->files.limit = limit;
	d->files.dir = strdup(dir);
	rc = d->files.dir ? start(d, reterr) : adafs_err_set(reterr, -ENOMEM, "out of memory");
	if (rc) {
		diskcache_close(d);
		return rc;
	}
	*ret = d;
	return 0;
}

void diskcache_close(struct diskcache *d)
{
	if (!d)
		return;
	adafs_mutex_lock(&d->lock);
	d->stopping = true;
	adafs_cond_broadcast(&d->changed);
	adafs_mutex_unlock(&d->lock);
	for (unsigned i = 0; i < d->n_threads; i++)
		pthread_join(d->thread[i], NULL);
	adafs_cond_clear(&d->changed);
	adafs_mutex_clear(&d->lock);
	free(d->files.dir);
	free(d);
}

/* --- jobs ------------------------------------------------------------------------------------ */
void diskcache_load(struct diskcache *d, const struct diskcache_range *range, void *buf,
		    diskcache_loaded *done, void *arg)
{
	struct job *j = malloc(sizeof(*j));
	if (!j) {
		done(arg, false);
		return;
	}
	*j = (struct job){ .range = *range, .buf = buf, .loaded = done, .arg = arg };
	adafs_mutex_lock(&d->lock);
	queue_add(&d->loads, j);
	adafs_cond_signal(&d->changed);
	adafs_mutex_unlock(&d->lock);
}

bool diskcache_store(struct diskcache *d, const struct diskcache_range *range, const void *buf,
		     void (*done)(void *arg), void *arg)
{
	struct job *j = malloc(sizeof(*j));
	if (!j)
		return false;
	*j = (struct job){ .range = *range, .from = buf, .stored = done, .arg = arg };
	adafs_mutex_lock(&d->lock);
	bool room = d->n_stores < MAX_STORES && !d->stopping;
	if (room) {
		d->n_stores++;
		queue_add(&d->stores, j);
		adafs_cond_signal(&d->changed);
	}
	adafs_mutex_unlock(&d->lock);
	if (!room)
		free(j);
	return room;
}
