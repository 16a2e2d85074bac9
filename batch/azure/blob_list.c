/*
 * List Blobs. Pages come whole before they are read, so that one which broke off is asked for again
 * without anybody having seen half of it. Where the next page starts is told at the end of a page:
 * it is asked for on the loop thread when a page has arrived and somebody waits for it, else when
 * that page is taken. So one page at most lies unread while one is being read.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "batch/azure/blob_list_int.h"

#define MAX_QUERY (32 * 1024)

/* A page that has come and was not taken yet. */
struct arrived {
	struct adafs_buf body;
	struct adafs_err err;
};

struct adafs_blob_pages {
	unsigned refs; /* atomic: the caller's and one of the request under way */
	struct blob_target target;
	char *container, *url, *prefix, *delimiter;
	unsigned flags;
	unsigned max; /* names a page; 0: as many as the service gives, and pages are asked for
			 ahead */
	struct blob_page page;
	bool started, last;
	struct adafs_mutex lock; /* rank ADAFS_RANK_LEAF */
	struct adafs_cond arrived;
	/* Under lock. */
	char *marker; /* where the page starts that was asked for or is to be asked for next */
	bool asked;   /* it is under way */
	bool waiting; /* somebody waits for a page, and will take it at once */
	bool closed;
	/* The second comes while the first is on its way to who waits for it. */
	struct arrived ready[2];
	unsigned n_ready;
};

static void pages_unref(struct adafs_blob_pages *p)
{
	if (__atomic_sub_fetch(&p->refs, 1, __ATOMIC_ACQ_REL))
		return;
	for (unsigned i = 0; i < p->n_ready; i++)
		adafs_buf_clear(&p->ready[i].body);
	blob_page_clear(&p->page);
	adafs_cond_clear(&p->arrived);
	adafs_mutex_clear(&p->lock);
	free(p->container);
	free(p->url);
	free(p->prefix);
	free(p->delimiter);
	free(p->marker);
	free(p);
}

/* --- asking -------------------------------------------------------------------------------- */
static const char *include_of(unsigned flags)
{
	if ((flags & ADAFS_LIST_META) && (flags & ADAFS_LIST_SNAPSHOTS))
		return "metadata,snapshots";
	if (flags & ADAFS_LIST_META)
		return "metadata";
	return flags & ADAFS_LIST_SNAPSHOTS ? "snapshots" : NULL;
}

static int build_query(const struct adafs_blob_pages *p, const char *marker, struct adafs_buf *q)
{
	char max[16];
	const char *include = include_of(p->flags);
	snprintf(max, sizeof(max), "%u", p->max ? p->max : 5000);
	int rc = blob_query_add(q, "comp", "list");
	if (rc == 0)
		rc = blob_query_add(q, "maxresults", max);
	if (rc == 0 && *p->prefix)
		rc = blob_query_add(q, "prefix", p->prefix);
	if (rc == 0 && p->delimiter && *p->delimiter)
		rc = blob_query_add(q, "delimiter", p->delimiter);
	if (rc == 0 && include)
		rc = blob_query_add(q, "include", include);
	if (rc == 0 && marker && *marker)
		rc = blob_query_add(q, "marker", marker);
	return rc;
}

static void on_page(void *arg, struct adafs_http_response *response, const struct adafs_err *err);

/* Ask for the page at marker, which was claimed by setting `asked`; without the lock. */
static void ask(struct adafs_blob_pages *p, const char *marker)
{
	ADAFS_CLEANUP(adafs_buf_clear) struct adafs_buf query = ADAFS_BUF_INIT(MAX_QUERY);
	struct adafs_http_request *rq = NULL;
	if (build_query(p, marker, &query) == 0)
		rq = blob_container_request(&p->target, "GET", "List Blobs", query.data);
	if (rq)
		rq->max_body = BLOB_MAX_PAGE;
	__atomic_add_fetch(&p->refs, 1, __ATOMIC_RELAXED);
	adafs_http_send(p->target.http, rq, on_page, p);
}

static void on_page(void *arg, struct adafs_http_response *response, const struct adafs_err *err)
{
	struct adafs_blob_pages *p = arg;
	char *next = !err->rc && !p->max
			     ? blob_page_marker(adafs_buf_str(&response->body), response->body.len)
			     : NULL;
	adafs_mutex_lock(&p->lock);
	p->asked = false;
	struct arrived *a = &p->ready[p->n_ready++];
	*a = (struct arrived){ .err = *err };
	if (!err->rc) {
		a->body = response->body;
		response->body = (struct adafs_buf){ 0 };
	}
	bool again = next && *next && p->marker && strcmp(next, p->marker) == 0;
	free(p->marker);
	p->marker = next;
	/* Who waits takes this page at once: the service goes on with the next one meanwhile. */
	bool go_on = p->waiting && !p->closed && next && *next && !again;
	p->asked = go_on;
	p->waiting = false;
	adafs_cond_broadcast(&p->arrived);
	adafs_mutex_unlock(&p->lock);
	/* Only its own completion changes the marker while a page is asked for. */
	if (go_on)
		ask(p, next);
	pages_unref(p);
}

/*
 * Wait for the page, and take it; the next one is under way or being asked for when this returns.
 */
static int take_page(struct adafs_blob_pages *p, struct adafs_buf *ret, struct adafs_err *reterr)
{
	ADAFS_FREE char *marker = NULL;
	adafs_mutex_lock(&p->lock);
	if (!p->n_ready && !p->asked) {
		p->asked = true;
		marker = p->marker ? strdup(p->marker) : NULL;
		adafs_mutex_unlock(&p->lock);
		ask(p, marker);
		adafs_mutex_lock(&p->lock);
	}
	while (!p->n_ready) {
		p->waiting = true;
		adafs_cond_wait(&p->arrived, &p->lock);
	}
	struct arrived page = p->ready[0];
	p->ready[0] = p->ready[1];
	p->n_ready--;
	bool go_on = !page.err.rc && !p->n_ready && !p->asked && p->marker && *p->marker;
	char *next = go_on ? p->marker : NULL;
	p->asked |= go_on;
	adafs_mutex_unlock(&p->lock);
	if (go_on)
		ask(p, next);
	if (page.err.rc && reterr)
		*reterr = page.err;
	*ret = page.body;
	return page.err.rc;
}

static void close_pages(struct adafs_blob_pages *p)
{
	adafs_mutex_lock(&p->lock);
	p->closed = true;
	adafs_mutex_unlock(&p->lock);
	pages_unref(p);
}

/* --- page after page ------------------------------------------------------------------------- */
static int copy_text(char **to, const char *from)
{
	if (from && !(*to = strdup(from)))
		return -ENOMEM;
	return 0;
}

static struct adafs_blob_pages *open_pages(const struct blob_target *target, const char *prefix,
					   const char *delimiter, unsigned flags, unsigned max,
					   const char *marker)
{
	struct adafs_blob_pages *p = calloc(1, sizeof(*p));
	if (!p)
		return NULL;
	*p = (struct adafs_blob_pages){ .refs = 1, .target = *target, .flags = flags, .max = max };
	adafs_mutex_init(&p->lock, ADAFS_RANK_LEAF);
	adafs_cond_init(&p->arrived);
	if (copy_text(&p->container, target->container) || copy_text(&p->url, target->url) ||
	    copy_text(&p->prefix, prefix) || copy_text(&p->delimiter, delimiter) ||
	    copy_text(&p->marker, marker)) {
		pages_unref(p);
		return NULL;
	}
	p->target.container = p->container;
	p->target.url = p->url;
	return p;
}

struct adafs_blob_pages *adafs_blob_pages_open(struct adafs_blob_client *c, const char *container,
					       const char *prefix, const char *delimiter,
					       unsigned flags, const char *marker)
{
	const struct blob_target target = blob_target_of(c, container, NULL);
	return open_pages(&target, prefix, delimiter, flags, 0, marker);
}

int adafs_blob_pages_next(struct adafs_blob_pages *p, adafs_blob_list_fn *fn, void *arg,
			  struct adafs_err *reterr)
{
	ADAFS_CLEANUP(adafs_buf_clear) struct adafs_buf body = { 0 };
	if (p->last)
		return 0;
	ADAFS_FREE char *before = ADAFS_STEAL(p->page.marker);
	int rc = take_page(p, &body, reterr);
	if (rc < 0)
		return rc;
	p->page.fn = fn;
	p->page.arg = arg;
	if (!body.data)
		return adafs_err_set(reterr, -EPROTO, "List Blobs: an empty answer");
	rc = blob_page_read(&p->page, body.data, body.len);
	if (rc == -EPROTO)
		return adafs_err_set(reterr, rc, "List Blobs: the answer cannot be read");
	if (rc < 0)
		return rc;
	const char *marker = p->page.marker;
	if (marker && *marker && before && strcmp(marker, before) == 0)
		return adafs_err_set(reterr, -EPROTO, "List Blobs: the same page came twice");
	p->last = !marker || !*marker;
	if (p->last)
		return 0;
	/* It was not found ahead, or only a page of some was asked for. */
	adafs_mutex_lock(&p->lock);
	if (!p->asked && !p->n_ready && !(p->marker && *p->marker)) {
		free(p->marker);
		p->marker = strdup(marker);
		rc = p->marker ? 0 : -ENOMEM;
	}
	adafs_mutex_unlock(&p->lock);
	return rc < 0 ? adafs_err_set(reterr, rc, "out of memory") : 1;
}

const char *adafs_blob_pages_marker(const struct adafs_blob_pages *p)
{
	return p->page.marker ? p->page.marker : "";
}

void adafs_blob_pages_close(struct adafs_blob_pages *p)
{
	if (p)
		close_pages(p);
}

/* --- all of it -------------------------------------------------------------------------------- */
static int list(const struct blob_target *target, const char *prefix, const char *delimiter,
		unsigned flags, unsigned max, adafs_blob_list_fn *fn, void *arg,
		struct adafs_err *reterr)
{
	struct adafs_blob_pages *p = open_pages(target, prefix, delimiter, flags, max, NULL);
	if (!p)
		return adafs_err_set(reterr, -ENOMEM, "out of memory");
	int rc;
	/* Pages may be short, and even empty: only the marker tells the end. */
	do {
		rc = adafs_blob_pages_next(p, fn, arg, reterr);
	} while (rc > 0 && (!max || p->page.seen == 0));
	close_pages(p);
	return rc < 0 ? rc : 0;
}

int adafs_blob_list_some(struct adafs_blob_client *c, const char *container, const char *prefix,
			 const char *delimiter, unsigned flags, unsigned max,
			 adafs_blob_list_fn *fn, void *arg, struct adafs_err *reterr)
{
	const struct blob_target target = blob_target_of(c, container, NULL);
	return list(&target, prefix, delimiter, flags, max, fn, arg, reterr);
}

int adafs_blob_list(struct adafs_blob_client *c, const char *container, const char *prefix,
		    const char *delimiter, unsigned flags, adafs_blob_list_fn *fn, void *arg,
		    struct adafs_err *reterr)
{
	return adafs_blob_list_some(c, container, prefix, delimiter, flags, 0, fn, arg, reterr);
}

int adafs_blob_list_url(struct adafs_http *http, const char *container_url_with_sas,
			const char *prefix, adafs_blob_list_fn *fn, void *arg,
			struct adafs_err *reterr)
{
	ADAFS_FREE char *url = adafs_blob_url_in_container(container_url_with_sas, NULL);
	if (!url)
		return adafs_err_set(reterr, -ENOMEM, "out of memory");
	const struct blob_target target = blob_target_url(http, url);
	return list(&target, prefix, NULL, 0, 0, fn, arg, reterr);
}
