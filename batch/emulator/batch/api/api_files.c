/* Files of tasks and nodes. The disk is read without the service's lock. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "batch/base/clock.h"
#include "batch/base/codec.h"
#include "batch/base/file.h"
#include "batch/emulator/batch/api/api.h"

#define MAX_DEPTH 64

static const struct odata_property file_filter[] = {
	{ "name", ODATA_STRING, ODATA_STARTS, NULL },
	{ 0 },
};

/* --- which directory ---------------------------------------------------------------------- */

static char *task_root(struct api *a)
{
	const struct task *t = api_task(a);
	if (!t)
		return NULL;
	if (t->e.state == TASK_ACTIVE) {
		api_error(a, 409, "OperationInvalidForCurrentState", "Reason",
			  "The files of the specified task cannot be accessed as the task state is "
			  "still active",
			  NULL);
		return NULL;
	}
	const struct entity *pool =
		t->pool_id && t->node_id ? entity_list_find(&a->s->pools, t->pool_id) : NULL;
	char *dir = NULL;
	if (t->files_gone)
		api_error(a, 409, "TaskFilesCleanedup", NULL);
	else if (!pool || !pool_find_node(entity_pool((struct entity *)pool), t->node_id))
		api_error(a, 409, "TaskFilesUnavailable", NULL);
	else if ((dir = service_task_dir(a->s, t)) == NULL)
		api_error_internal(a);
	return dir;
}

static char *node_root(struct api *a)
{
	struct pool *p = api_pool(a);
	const struct node *n = p ? pool_find_node(p, a->args[1]) : NULL;
	char *dir = NULL;
	if (p && !n)
		api_error(a, 404, "NodeNotFound", NULL);
	else if (n && (dir = service_node_dir(a->s, n->id)) == NULL)
		api_error_internal(a);
	return dir;
}

/*
 * Whether a directory or file that is open is part of a node. What a task links to may be any file
 * of this machine: a client of the service sees those of nodes. Of what is open, for a task may
 * exchange a link between a look and an access.
 */
static bool inside_node(const struct api *a, int fd)
{
	ADAFS_FREE char *nodes = adafs_fmt("%s/nodes", a->s->dir);
	ADAFS_FREE char *top = nodes ? realpath(nodes, NULL) : NULL;
	char link[64], path[PATH_MAX];
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	ssize_t n = readlink(link, path, sizeof(path) - 1);
	size_t len = top ? strlen(top) : 0;
	return len && n > (ssize_t)len && memcmp(path, top, len) == 0 && path[len] == '/';
}

/* An O_PATH descriptor of something inside a node; -1: there is none. */
static int open_inside(const struct api *a, const char *path)
{
	int fd = open(path, O_PATH | O_CLOEXEC);
	if (fd >= 0 && !inside_node(a, fd)) {
		close(fd);
		return -1;
	}
	return fd;
}

/* What the path in the request names below root; free(). NULL: answered. */
static char *file_path(struct api *a, const char *root)
{
	const char *rel = a->args[2];
	/* The root itself is no file, and not to be deleted as one. */
	bool ok = rel[strspn(rel, "/")];
	for (const char *p = rel; *p;) {
		size_t n = strcspn(p, "/");
		ok = ok && !(p[0] == '.' && (n == 1 || (n == 2 && p[1] == '.')));
		p += n;
		p += *p == '/';
	}
	if (!ok) {
		api_error(a, 404, "FileNotFound", NULL);
		return NULL;
	}
	char *path = adafs_fmt("%s/%s", root, rel);
	if (!path)
		api_error_internal(a);
	return path;
}

/* --- one file ----------------------------------------------------------------------------- */

static const char *content_type(const char *path)
{
	static const char *const types[][2] = {
		{ ".txt", "text/plain" },        { ".log", "text/plain" },
		{ ".json", "application/json" }, { ".geojson", "application/json" },
		{ ".html", "text/html" },        { ".xml", "text/xml" },
		{ ".csv", "text/csv" },          { ".png", "image/png" },
		{ ".tif", "image/tiff" },        { ".jpg", "image/jpeg" },
	};
	const char *dot = strrchr(path, '.');
	for (size_t i = 0; dot && i < ADAFS_ARRAY_SIZE(types); i++)
		if (strcasecmp(dot, types[i][0]) == 0)
			return types[i][1];
	return "application/octet-stream";
}

static void file_headers(struct api *a, const char *path, const struct stat *st)
{
	char date[ADAFS_RFC1123_LEN];
	adafs_clock_rfc1123(st->st_mtime, date);
	http_resp_header(a->resp, "Last-Modified", date);
	http_resp_header(a->resp, "ocp-batch-file-isdirectory",
			 S_ISDIR(st->st_mode) ? "True" : "False");
	http_resp_headerf(a->resp, "ocp-batch-file-mode", "0o%o", (unsigned)st->st_mode);
	ADAFS_FREE char *url = adafs_fmt("%s%s", a->base, a->req->path);
	ADAFS_FREE char *encoded = url ? adafs_url_encode(url, strlen(url), "") : NULL;
	if (encoded)
		http_resp_header(a->resp, "ocp-batch-file-url", encoded);
	http_resp_header(a->resp, "Content-Type", content_type(path));
}

/* ocp-range: bytes=a-b or bytes=a-. 0 with the piece, or answered. */
static int file_range(struct api *a, uint64_t size, uint64_t *ret_off, uint64_t *ret_len)
{
	const char *text = http_req_header(a->req, "ocp-range");
	*ret_off = 0;
	*ret_len = size;
	if (!text)
		return 0;
	char *end;
	bool ok = strncasecmp(text, "bytes=", 6) == 0 && text[6] >= '0' && text[6] <= '9';
	errno = 0;
	uint64_t first = ok ? strtoull(text + 6, &end, 10) : 0, last = UINT64_MAX;
	ok = ok && !errno && *end == '-';
	if (ok && end[1]) {
		const char *from = end + 1;
		ok = *from >= '0' && *from <= '9';
		last = ok ? strtoull(from, &end, 10) : 0;
		ok = ok && !errno && !*end && last >= first;
	}
	if (!ok)
		return api_error(a, 400, "InvalidHeaderValue", "HeaderName", "ocp-range",
				 "HeaderValue", text, NULL);
	if (first >= size)
		return api_error(a, 416, "InvalidRange", NULL);
	*ret_off = first;
	*ret_len = (last < size - 1 ? last : size - 1) - first + 1;
	return 0;
}

static int send_file(struct api *a, const char *path)
{
	bool head = strcmp(a->req->method, "HEAD") == 0;
	/* Looked at before it is opened: to open a device may do something. */
	ADAFS_CLOSE int at = open_inside(a, path);
	char link[64];
	snprintf(link, sizeof(link), "/proc/self/fd/%d", at);
	struct stat st;
	bool plain = at >= 0 && fstat(at, &st) == 0 && (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode));
	ADAFS_CLOSE int fd = plain ? open(link, O_RDONLY | O_CLOEXEC) : -1;
	if (fd < 0 || (S_ISDIR(st.st_mode) && !head))
		return api_error(a, 404, "FileNotFound", NULL);
	int rc = api_conditions_time(a, st.st_mtime, false);
	if (rc < 0)
		return rc;
	uint64_t size = S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0, off = 0, len = size;
	if (!head)
		rc = file_range(a, size, &off, &len);
	if (rc < 0)
		return rc;
	a->resp->status = 200; /* also for a range */
	file_headers(a, path, &st);
	a->resp->head_length = size;
	if (head || !len)
		return 0;
	int owned = fd;
	fd = -1; /* the response closes it */
	rc = http_resp_add_file(a->resp, owned, true, off, len);
	return rc < 0 ? api_error_internal(a) : 0;
}

/* Lets go of the service's lock meanwhile. */
ADAFS_UNCHECKED static int get_below(struct api *a, char *root)
{
	ADAFS_FREE char *owned = root;
	if (!owned)
		return -ENOENT;
	adafs_mutex_unlock(&a->s->lock);
	ADAFS_FREE char *path = file_path(a, owned);
	int rc = path ? send_file(a, path) : -ENOENT;
	adafs_mutex_lock(&a->s->lock);
	return rc;
}

/* path is below a directory that is open: no link leads out of the node meanwhile. */
static int remove_open(struct api *a, const char *path)
{
	const char *recursive = http_req_param(a->req, "recursive");
	struct stat st;
	if (lstat(path, &st) < 0)
		return api_error(a, 404, "FileNotFound", NULL);
	int rc = !S_ISDIR(st.st_mode)                              ? unlink(path)
		 : recursive && strcasecmp(recursive, "true") == 0 ? adafs_remove_tree(path)
								   : rmdir(path);
	if (rc < 0)
		return api_error(a, 409, "OperationInvalidForCurrentState", "Reason",
				 "The directory is not empty or cannot be deleted", NULL);
	return api_done(a, 200, NULL);
}

static int remove_file(struct api *a, char *path)
{
	for (size_t n = strlen(path); n && path[n - 1] == '/'; n--)
		path[n - 1] = 0;
	char *name = strrchr(path, '/');
	*name++ = 0;
	ADAFS_CLOSE int dir = open_inside(a, path);
	ADAFS_FREE char *open_path = dir < 0 ? NULL : adafs_fmt("/proc/self/fd/%d/%s", dir, name);
	if (dir < 0)
		return api_error(a, 404, "FileNotFound", NULL);
	return open_path ? remove_open(a, open_path) : api_error_internal(a);
}

/* Lets go of the service's lock meanwhile. */
ADAFS_UNCHECKED static int delete_below(struct api *a, char *root)
{
	ADAFS_FREE char *owned = root;
	if (!owned)
		return -ENOENT;
	adafs_mutex_unlock(&a->s->lock);
	ADAFS_FREE char *path = file_path(a, owned);
	int rc = path ? remove_file(a, path) : -ENOENT;
	adafs_mutex_lock(&a->s->lock);
	return rc;
}

/* --- lists -------------------------------------------------------------------------------- */

struct file {
	char *name; /* relative to the root */
	struct stat st;
};

struct files {
	struct file *item;
	size_t n, size, at;
};

static int files_add(struct files *f, const char *name, const struct stat *st)
{
	if (f->n == f->size) {
		size_t size = f->size ? f->size * 2 : 64;
		struct file *item = reallocarray(f->item, size, sizeof(*item));
		if (!item)
			return -ENOMEM;
		f->item = item;
		f->size = size;
	}
	f->item[f->n].name = strdup(name);
	f->item[f->n].st = *st;
	return f->item[f->n].name ? (f->n++, 0) : -ENOMEM;
}

static void files_clear(struct files *f)
{
	for (size_t i = 0; i < f->n; i++)
		free(f->item[i].name);
	free(f->item);
}

/* Links show what they lead to, if that is a node's; a tree is never entered by one. */
static int stat_shown(const struct api *a, int dir, const char *name, struct stat *ret)
{
	if (fstatat(dir, name, ret, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	if (!S_ISLNK(ret->st_mode))
		return 0;
	ADAFS_CLOSE int fd = openat(dir, name, O_PATH | O_CLOEXEC);
	struct stat st;
	if (fd >= 0 && inside_node(a, fd) && fstat(fd, &st) == 0)
		*ret = st;
	return 0;
}

/* Collect what is in root/rel; directories that vanish meanwhile are no error. */
static int files_read(struct api *a, struct files *f, const char *root, const char *rel,
		      bool recursive, int depth)
{
	ADAFS_FREE char *dir = adafs_fmt("%s/%s", root, rel);
	DIR *d = dir ? opendir(dir) : NULL;
	int rc = dir ? 0 : -ENOMEM;
	if (d && !inside_node(a, dirfd(d))) {
		closedir(d);
		return rc;
	}
	const struct dirent *e;
	while (rc == 0 && d && (e = readdir(d)) != NULL) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		ADAFS_FREE char *name = adafs_fmt(*rel ? "%s/%s" : "%s%s", rel, e->d_name);
		struct stat st;
		if (!name) {
			rc = -ENOMEM;
			break;
		}
		if (stat_shown(a, dirfd(d), e->d_name, &st) < 0)
			continue;
		rc = files_add(f, name, &st);
		if (rc == 0 && recursive && e->d_type == DT_DIR && depth < MAX_DEPTH)
			rc = files_read(a, f, root, name, true, depth + 1);
	}
	if (d)
		closedir(d);
	return rc;
}

static int compare_files(const void *a, const void *b)
{
	return strcmp(((const struct file *)a)->name, ((const struct file *)b)->name);
}

static void *next_file(void *arg, const char *after, void *previous)
{
	struct files *f = arg;
	if (!previous)
		for (f->at = 0; f->at < f->n && strcmp(f->item[f->at].name, after) <= 0;)
			f->at++;
	return f->at < f->n ? &f->item[f->at++] : NULL;
}

static const char *file_key(void *item)
{
	return ((struct file *)item)->name;
}

/* JSON holds text, a file's name any bytes: what is no text becomes question marks; free(). */
static char *valid_text(const char *name)
{
	char *text = strdup(name);
	if (text && !adafs_utf8_valid(text, strlen(text)))
		for (char *p = text; *p; p++)
			if ((unsigned char)*p >= 0x80)
				*p = '?';
	return text;
}

static cJSON *view_file(struct api *a, void *item, const char *select)
{
	(void)select;
	const struct file *f = item;
	cJSON *o = cJSON_CreateObject();
	ADAFS_FREE char *shown = valid_text(f->name);
	cJSON_AddStringToObject(o, "name", shown ? shown : "");
	ADAFS_FREE char *name = adafs_url_encode(f->name, strlen(f->name), "/");
	ADAFS_FREE char *url = name ? adafs_fmt("%s%s/%s", a->base, a->req->path, name) : NULL;
	cJSON_AddStringToObject(o, "url", url ? url : "");
	cJSON_AddBoolToObject(o, "isDirectory", S_ISDIR(f->st.st_mode));
	if (S_ISDIR(f->st.st_mode))
		return o;
	char text[32];
	cJSON *p = cJSON_AddObjectToObject(o, "properties");
	cJSON_AddItemToObject(
		p, "lastModified",
		api_time((int64_t)f->st.st_mtim.tv_sec * 1000000 + f->st.st_mtim.tv_nsec / 1000));
	snprintf(text, sizeof(text), "%lld", (long long)f->st.st_size);
	cJSON_AddStringToObject(p, "contentLength", text);
	cJSON_AddStringToObject(p, "contentType", content_type(f->name));
	snprintf(text, sizeof(text), "0o%o", (unsigned)f->st.st_mode);
	cJSON_AddStringToObject(p, "fileMode", text);
	return o;
}

/* Lets go of the service's lock meanwhile. */
ADAFS_UNCHECKED static int list_below(struct api *a, char *root)
{
	ADAFS_FREE char *owned = root;
	if (!owned)
		return -ENOENT;
	adafs_mutex_unlock(&a->s->lock);
	const char *recursive = http_req_param(a->req, "recursive");
	ADAFS_CLEANUP(files_clear) struct files f = { 0 };
	int rc = files_read(a, &f, owned, "", recursive && strcasecmp(recursive, "true") == 0, 0);
	if (rc < 0) {
		rc = api_error_internal(a);
	} else {
		if (f.n)
			qsort(f.item, f.n, sizeof(*f.item), compare_files);
		const struct api_list list = { .metadata = "files",
					       .filterable = file_filter,
					       .arg = &f,
					       .next = next_file,
					       .key = file_key,
					       .view = view_file };
		rc = api_list(a, &list);
	}
	adafs_mutex_lock(&a->s->lock);
	return rc;
}

static int task_file_list(struct api *a)
{
	return list_below(a, task_root(a));
}

static int task_file_get(struct api *a)
{
	return get_below(a, task_root(a));
}

static int task_file_delete(struct api *a)
{
	return delete_below(a, task_root(a));
}

static int node_file_list(struct api *a)
{
	return list_below(a, node_root(a));
}

static int node_file_get(struct api *a)
{
	return get_below(a, node_root(a));
}

static int node_file_delete(struct api *a)
{
	return delete_below(a, node_root(a));
}

const struct api_route api_file_routes[] = {
	{ "GET", "/jobs/{}/tasks/{}/files", "ListTaskFiles", task_file_list },
	{ "GET", "/jobs/{}/tasks/{}/files/{*}", "GetTaskFile", task_file_get },
	{ "HEAD", "/jobs/{}/tasks/{}/files/{*}", "HeadTaskFile", task_file_get },
	{ "DELETE", "/jobs/{}/tasks/{}/files/{*}", "DeleteTaskFile", task_file_delete },
	{ "GET", "/pools/{}/nodes/{}/files", "ListNodeFiles", node_file_list },
	{ "GET", "/pools/{}/nodes/{}/files/{*}", "GetNodeFile", node_file_get },
	{ "HEAD", "/pools/{}/nodes/{}/files/{*}", "HeadNodeFile", node_file_get },
	{ "DELETE", "/pools/{}/nodes/{}/files/{*}", "DeleteNodeFile", node_file_delete },
	{ 0 },
};
