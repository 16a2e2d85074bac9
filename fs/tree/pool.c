/*
 * fs/tree/pool.c - pool/: state, ctl and a file a node of the pool that runs the jobs. Asked for on
 * workers and believed for a second, so that one `ls -l` costs two requests.
 */
#include <errno.h>
#include <string.h>

#include "batch/base/clock.h"
#include "batch/base/log.h"
#include "batch/base/mutex.h"
#include "batch/foreman/pool_formula.h"
#include "batch/foreman/pool_words.h"
#include "fs/tree/synth.h"
#include "fs/tree/tree.h"

#define FRESH_MS 1000
#define POOL_TEXT_MAX (64 * 1024)

struct pool_node {
	char *id;
	char *text; /* the file's content */
	time_t changed;
};

/* What the service said last. */
struct pool_state {
	char *text; /* of pool/state */
	struct pool_node *node;
	size_t n;
};

/* The data of pool/; nodes below reach it through their parents, which live longer. */
struct pool {
	struct adafs_mutex lock; /* rank TREE */
	struct pool_state now;
	uint64_t loaded_ms; /* 0: never */
};

static void pool_state_clear(struct pool_state *s)
{
	for (size_t i = 0; i < s->n; i++) {
		free(s->node[i].id);
		free(s->node[i].text);
	}
	free(s->node);
	free(s->text);
	*s = (struct pool_state){ 0 };
}

static void pool_free(void *data)
{
	struct pool *pool = data;

	pool_state_clear(&pool->now);
	adafs_mutex_clear(&pool->lock);
	free(pool);
}

static struct pool *pool_of(const struct node *n)
{
	while (n->parent->parent)
		n = n->parent;
	return n->data;
}

static int add_node(void *arg, const cJSON *item)
{
	struct pool_state *s = arg;
	int64_t changed_us = 0;
	struct pool_node *grown = realloc(s->node, (s->n + 1) * sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	s->node = grown;
	if (adafs_clock_parse_iso8601(adafs_json_str(item, "stateTransitionTime", ""),
				      &changed_us) < 0)
		changed_us = 0;
	struct adafs_buf text = ADAFS_BUF_INIT(POOL_TEXT_MAX);
	if (pool_words_node(item, &text) < 0)
		adafs_buf_clear(&text);
	struct pool_node node = {
		.id = strdup(adafs_json_str(item, "id", "")),
		.text = text.data ? adafs_buf_steal(&text, NULL) : NULL,
		.changed = (time_t)(changed_us / 1000000),
	};
	if (!node.id || !node.text) {
		free(node.id);
		free(node.text);
		return -ENOMEM;
	}
	s->node[s->n++] = node;
	return 0;
}

static int pool_load(struct fs *fs, struct pool_state *ret, struct adafs_err *reterr)
{
	struct pool_state s = { 0 };
	ADAFS_JSON *json = NULL;
	int rc = adafs_batch_pool_get(fs->batch, fs->options->pool, &json, reterr);

	if (rc == 0)
		rc = adafs_batch_node_list(fs->batch, fs->options->pool, NULL, add_node, &s,
					   reterr);
	if (rc == 0) {
		struct adafs_buf text = ADAFS_BUF_INIT(POOL_TEXT_MAX);
		rc = pool_words_state(json, &text);
		s.text = rc == 0 ? adafs_buf_steal(&text, NULL) : NULL;
		rc = s.text ? 0 : -ENOMEM;
		adafs_buf_clear(&text);
	}
	if (rc < 0) {
		pool_state_clear(&s);
		return rc;
	}
	*ret = s;
	return 0;
}

/* Make pool->now at most FRESH_MS old. */
static int pool_refresh(struct call *c, struct pool *pool)
{
	struct adafs_err err = { 0 };
	struct pool_state s, old;

	adafs_mutex_lock(&pool->lock);
	bool fresh = pool->loaded_ms != 0 && adafs_clock_mono_ms() - pool->loaded_ms < FRESH_MS;
	adafs_mutex_unlock(&pool->lock);
	if (fresh)
		return 0;
	if (!c->may_wait)
		return -EWOULDBLOCK;
	int rc = pool_load(c->fs, &s, &err);
	if (rc < 0) {
		adafs_log(WARN, "fs", "pool '%s' cannot be read: %s", c->fs->options->pool,
			  err.msg);
		return rc;
	}
	adafs_mutex_lock(&pool->lock);
	old = pool->now;
	pool->now = s;
	pool->loaded_ms = adafs_clock_mono_ms();
	adafs_mutex_unlock(&pool->lock);
	pool_state_clear(&old);
	return 0;
}

/* --- files -------------------------------------------------------------------------------- */

static int state_text(struct call *c, struct node *n, struct adafs_buf *ret, time_t *ret_mtime)
{
	struct pool *pool = pool_of(n);
	int rc = pool_refresh(c, pool);

	(void)ret_mtime;
	if (rc < 0)
		return rc;
	adafs_mutex_lock(&pool->lock);
	rc = adafs_buf_adds(ret, pool->now.text);
	adafs_mutex_unlock(&pool->lock);
	return rc;
}

static int node_text(struct call *c, struct node *n, struct adafs_buf *ret, time_t *ret_mtime)
{
	struct pool *pool = pool_of(n);
	int rc = pool_refresh(c, pool);

	if (rc < 0)
		return rc;
	rc = -ENOENT;
	adafs_mutex_lock(&pool->lock);
	for (size_t i = 0; i < pool->now.n; i++) {
		if (strcmp(pool->now.node[i].id, n->name) != 0)
			continue;
		rc = adafs_buf_adds(ret, pool->now.node[i].text);
		if (pool->now.node[i].changed)
			*ret_mtime = pool->now.node[i].changed;
	}
	adafs_mutex_unlock(&pool->lock);
	return rc;
}

static int ctl_text(struct call *c, struct node *n, struct adafs_buf *ret, time_t *ret_mtime)
{
	(void)c;
	(void)n;
	(void)ret_mtime;
	return adafs_buf_adds(ret, "resize N [MINUTES]\n");
}

/* A whole number at *text, which is moved behind it and blanks; -1: none. */
static long take_number(const char **text, long max)
{
	char *end;
	long n = strtol(*text, &end, 10);

	if (**text < '0' || **text > '9' || n > max || (*end && !strchr(" \t", *end)))
		return -1;
	*text = end + strspn(end, " \t");
	return n;
}

/* resize N [MINUTES], with N the wanted number of nodes, for so long where a formula scales the
 * pool. */
static int ctl_command(struct call *c, struct node *n, const char *command)
{
	struct adafs_err err = { 0 };
	struct pool *pool = pool_of(n);

	if (strncmp(command, "resize ", 7) != 0)
		return -EINVAL;
	const char *text = command + 7 + strspn(command + 7, " \t");
	long nodes = take_number(&text, 100000);
	long minutes = nodes >= 0 && *text ? take_number(&text, POOL_FORMULA_FLOOR_MAX_MIN) : 0;
	if (nodes < 0 || minutes < 0 || *text)
		return -EINVAL;
	if (!c->may_wait)
		return -EWOULDBLOCK;
	int rc = adafs_foreman_resize(c->fs->foreman, (int)nodes, (int)minutes, &err);
	if (rc < 0)
		adafs_log(WARN, "fs", "resize of pool '%s' failed: %s", c->fs->options->pool,
			  err.msg);
	adafs_mutex_lock(&pool->lock);
	pool->loaded_ms = 0;
	adafs_mutex_unlock(&pool->lock);
	return rc;
}

static const struct synth_text state_kind = {
	.node = SYNTH_TEXT_OPS("pool state", EPERM, NULL),
	.text = state_text,
};
static const struct synth_text node_kind = {
	.node = SYNTH_TEXT_OPS("pool node", EPERM, NULL),
	.text = node_text,
};
static const struct synth_text ctl_kind = {
	.node = SYNTH_TEXT_OPS("pool ctl", EPERM, NULL),
	.text = ctl_text,
	.command = ctl_command,
};

/* --- directories -------------------------------------------------------------------------- */

static uint64_t pool_ino(const char *dir, const char *name)
{
	char text[256];

	snprintf(text, sizeof(text), "pool/%s/%s", dir, name);
	return node_ino(text);
}

static int dir_getattr(struct call *c, struct node *n, struct handle *h, struct stat *ret,
		       double *ret_timeout_s)
{
	(void)c;
	(void)h;
	return synth_dir_stat(n, 0, ret, ret_timeout_s);
}

static int nodes_lookup(struct call *c, struct node *dir, const char *name, struct child *ret)
{
	return synth_child(
		c, node_get(dir->fs, dir, name, "", &node_kind.node, pool_ino("nodes", name), NULL),
		ret);
}

static int nodes_list(struct call *c, struct node *dir, struct dirlist *ret)
{
	struct pool *pool = pool_of(dir);
	int rc = pool_refresh(c, pool);

	if (rc < 0)
		return rc;
	adafs_mutex_lock(&pool->lock);
	for (size_t i = 0; rc == 0 && i < pool->now.n; i++)
		rc = dirlist_add(ret, pool->now.node[i].id, pool_ino("nodes", pool->now.node[i].id),
				 S_IFREG, NULL);
	adafs_mutex_unlock(&pool->lock);
	return rc;
}

static const struct node_ops nodes_ops = {
	.kind = "pool nodes",
	.readonly_errno = EPERM,
	.lookup = nodes_lookup,
	.list = nodes_list,
	.getattr = dir_getattr,
};

static const struct {
	const char *name;
	const struct node_ops *ops;
	mode_t type;
} entries[] = {
	{ "state", &state_kind.node, S_IFREG },
	{ "ctl", &ctl_kind.node, S_IFREG },
	{ "nodes", &nodes_ops, S_IFDIR },
};

static int pool_lookup(struct call *c, struct node *dir, const char *name, struct child *ret)
{
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(entries); i++)
		if (strcmp(entries[i].name, name) == 0)
			return synth_child(c,
					   node_get(dir->fs, dir, name, "", entries[i].ops,
						    pool_ino("", name), NULL),
					   ret);
	return -ENOENT;
}

static int pool_list(struct call *c, struct node *dir, struct dirlist *ret)
{
	int rc = 0;

	(void)c;
	(void)dir;
	for (size_t i = 0; rc == 0 && i < ADAFS_ARRAY_SIZE(entries); i++)
		rc = dirlist_add(ret, entries[i].name, pool_ino("", entries[i].name),
				 entries[i].type, NULL);
	return rc;
}

static const struct node_ops pool_ops = {
	.kind = "pool",
	.readonly_errno = EPERM,
	.lookup = pool_lookup,
	.list = pool_list,
	.getattr = dir_getattr,
	.free_data = pool_free,
};

struct node *pool_root(struct fs *fs, struct node *root)
{
	struct pool *pool = calloc(1, sizeof(*pool));

	if (!pool)
		return NULL;
	adafs_mutex_init(&pool->lock, ADAFS_RANK_TREE);
	return node_get(fs, root, "pool", "", &pool_ops, node_ino("pool"), pool);
}
