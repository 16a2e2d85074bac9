/*
 * emulator/batch/engine/janitor.c - the janitor's thread: waits for trash, deletes it without the
 * lock, until the service stops.
 */
#include "batch/emulator/batch/engine/janitor.h"

#include <dirent.h>

#include "batch/base/file.h"
#include "batch/base/log.h"
#include "batch/emulator/batch/service.h"

static void empty_trash(struct batch_service *s)
{
	ADAFS_FREE char *trash = adafs_fmt("%s/trash", s->dir);
	DIR *d = trash ? opendir(trash) : NULL;
	const struct dirent *entry;
	while (d && (entry = readdir(d)) != NULL) {
		ADAFS_FREE char *path =
			*entry->d_name == '.' ? NULL : adafs_fmt("%s/%s", trash, entry->d_name);
		if (path && adafs_remove_tree(path) < 0)
			adafs_log(WARN, "batch", "cannot delete '%s'", path);
		adafs_mutex_lock(&s->lock);
		bool stopping = s->stopping;
		adafs_mutex_unlock(&s->lock);
		if (stopping)
			break;
	}
	if (d)
		closedir(d);
}

void *janitor_thread(void *service)
{
	struct batch_service *s = service;
	adafs_mutex_lock(&s->lock);
	while (!s->stopping) {
		if (!s->trash) {
			adafs_cond_wait(&s->trash_added, &s->lock);
			continue;
		}
		s->trash = false;
		adafs_mutex_unlock(&s->lock);
		empty_trash(s);
		adafs_mutex_lock(&s->lock);
	}
	adafs_mutex_unlock(&s->lock);
	return NULL;
}
