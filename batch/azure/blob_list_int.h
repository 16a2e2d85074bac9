/*
 * azure/blob_list_int.h - what blob_list.c (asking for pages) and blob_list_page.c (reading one)
 * share.
 */
#ifndef ADAFS_AZURE_BLOB_LIST_INT_H
#define ADAFS_AZURE_BLOB_LIST_INT_H

#include "batch/azure/blob_int.h"

/* What is read of a page, and what goes over to the next one. */
struct blob_page {
	adafs_blob_list_fn *fn;
	void *arg;
	unsigned seen;     /* names that fn was called for */
	char *last_prefix; /* the same one may come again on the next page */
	char *marker;      /* where the next page starts; NULL or "": there is none */
	char *name; /* of the blob that is being read; borrowed from the page unless decoded */
	char *decoded;
	struct adafs_blob_props props;
};

/*
 * Read a page; doc[len] must be writable, and doc is changed. 0, a negative return of fn, -EPROTO:
 * it is no answer of List Blobs, -ENOMEM.
 */
int blob_page_read(struct blob_page *p, char *doc, size_t len);
void blob_page_clear(struct blob_page *p);
/*
 * The marker at the end of a page that was not read yet, to be freed; "" if there is none. NULL: it
 * is not where it is looked for.
 */
char *blob_page_marker(const char *doc, size_t len);

#endif
