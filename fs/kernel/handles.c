/* handles.c - see handles.h. */
#include "fs/kernel/handles.h"

#include <stdlib.h>

#include "batch/base/mutex.h"
#include "fs/kernel/op.h"
#include "fs/kernel/workers.h"

struct handles {
	struct adafs_mutex lock; /* rank LEAF */
	struct handle *first;
};

struct handles *handles_new(void)
{
	struct handles *all = calloc(1, sizeof(*all));
	if (all)
		adafs_mutex_init(&all->lock, ADAFS_RANK_LEAF);
	return all;
}

void handles_free(struct handles *all)
{
	if (!all)
		return;
	adafs_mutex_clear(&all->lock);
	free(all);
}

static void list(struct handles *all, struct handle *h)
{
	adafs_mutex_lock(&all->lock);
	h->next = all->first;
	h->link = &all->first;
	if (h->next)
		h->next->link = &h->next;
	all->first = h;
	adafs_mutex_unlock(&all->lock);
}

/* Files that adafs itself has opened are not listed. */
static void unlist(struct handles *all, struct handle *h)
{
	adafs_mutex_lock(&all->lock);
	if (h->link) {
		*h->link = h->next;
		if (h->next)
			h->next->link = h->link;
		h->link = NULL;
	}
	adafs_mutex_unlock(&all->lock);
}

void handle_publish(struct fs *fs, struct handle *h, struct node *n, bool writes)
{
	h->node = node_ref(n);
	h->refs = 1;
	h->writes = writes;
	if (writes)
		__atomic_add_fetch(&fs->n_writers, 1, __ATOMIC_ACQ_REL);
	list(fs->handles, h);
}

struct handle *handle_ref(struct handle *h)
{
	__atomic_add_fetch(&h->refs, 1, __ATOMIC_RELAXED);
	return h;
}

struct release_job {
	struct call call;
	struct handle *handle;
};

static void run_release(void *arg)
{
	struct release_job *job = arg;
	struct fs *fs = job->call.fs;
	struct node *n = job->handle->node;
	job->handle->ops->release(&job->call, job->handle);
	node_unref(n);
	free(job);
	calls_end(fs);
}

/* A handle that can write or flush may have to wait in its release: it goes to a worker. */
static void handle_release(struct fs *fs, struct handle *h)
{
	struct node *n = h->node;
	struct release_job *job = NULL;
	struct call now = { .fs = fs };
	if (h->ops->release_now && h->ops->release_now(&now, h)) {
		node_unref(n);
		return;
	}
	if (h->ops->write || h->ops->flush)
		job = malloc(sizeof(*job));
	if (job) {
		*job = (struct release_job){ .call = { .fs = fs, .may_wait = true }, .handle = h };
		calls_begin(fs);
		if (!workers_run(fs->workers, run_release, job))
			return;
		/* It must not be lost: better a slow thread than lost bytes. */
		run_release(job);
		return;
	}
	struct call c = { .fs = fs, .may_wait = h->ops->write || h->ops->flush };
	h->ops->release(&c, h);
	node_unref(n);
}

void handle_unref(struct fs *fs, struct handle *h)
{
	if (__atomic_sub_fetch(&h->refs, 1, __ATOMIC_ACQ_REL))
		return;
	unlist(fs->handles, h);
	if (h->writes)
		__atomic_sub_fetch(&fs->n_writers, 1, __ATOMIC_ACQ_REL);
	handle_release(fs, h);
}

void handles_close(struct fs *fs)
{
	if (!fs->handles)
		return;
	for (struct handle *h = fs->handles->first, *next; h; h = next) {
		struct call c = { .fs = fs, .may_wait = true };
		struct node *n = h->node;
		bool writes = h->writes;
		next = h->next;
		unlist(fs->handles, h);
		if (!writes)
			h->ops->release(&c, h);
		else if (!h->ops->release_now || !h->ops->release_now(&c, h))
			continue;
		node_unref(n);
	}
}
