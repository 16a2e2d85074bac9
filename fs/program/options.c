/*
 * fs/program/options.c - settings from the configuration file, the environment and the command
 * line, by the table in options_table.c. An account that a later source names replaces what an
 * earlier one said of that service as a whole: half of one account and half of another is nobody's
 * intention.
 */
#include "fs/program/options.h"

#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "batch/foreman/foreman.h"
#include "batch/base/buf.h"
#include "batch/base/file.h"
#include "fs/program/credentials.h"
#include "fs/mount/mountpoint.h"
#include "fs/blob/names.h"
#include "fs/program/options_table.h"

#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)

/* What is longer is no mistyped option's name. */
#define MAX_SHOWN_NAME 24

/* --- sources ------------------------------------------------------------------------------ */

enum source { SOURCE_FILE, SOURCE_ENVIRONMENT, SOURCE_COMMAND };

struct parser {
	struct options *o;
	struct credentials said; /* what counts so far */
	char *found[N_CREDS];    /* of the source being read */
	enum source source;
	const char *where; /* "in -o", or "file:line" */
	bool file_has_key;
	bool first;   /* of the command line, look for config= only */
	char *config; /* that file; NULL: the usual one */
};

static void wipe(char **text)
{
	if (*text)
		explicit_bzero(*text, strlen(*text));
	free(*text);
	*text = NULL;
}

static int set_text(char **at, const char *value)
{
	char *copy = strdup(value);

	if (!copy)
		return -ENOMEM;
	free(*at);
	*at = copy;
	return 0;
}

/* A source is over: what it says of a service replaces what was said before. */
static void take_creds(struct parser *p)
{
	static const struct {
		enum cred first, end;
	} service[] = { { CRED_CONNECTION, CRED_BATCH_ACCOUNT }, { CRED_BATCH_ACCOUNT, N_CREDS } };

	for (size_t s = 0; s < ADAFS_ARRAY_SIZE(service); s++) {
		bool any = false;
		for (int i = (int)service[s].first; i < (int)service[s].end; i++)
			any = any || p->found[i];
		for (int i = (int)service[s].first; any && i < (int)service[s].end; i++) {
			wipe(&p->said.cred[i]);
			p->said.cred[i] = ADAFS_STEAL(p->found[i]);
		}
	}
}

/* --- values ------------------------------------------------------------------------------- */

static int parse_number(const struct parser *p, const struct option_def *def, const char *text,
			bool is_size, double *ret, struct adafs_err *reterr)
{
	char *end;
	double factor = 1;

	errno = 0;
	double value = strtod(text, &end);
	if (is_size && end != text && *end) {
		static const char units[] = "KMGT";
		const char *unit = strchr(units, *end >= 'a' ? *end - 32 : *end);
		if (unit && (end[1] == '\0' || strcasecmp(end + 1, "iB") == 0 ||
			     strcasecmp(end + 1, "B") == 0)) {
			for (const char *u = units; u <= unit; u++)
				factor *= 1024;
			end = "";
		}
	}
	if (end == text || *end || errno || strpbrk(text, "xXnN"))
		return adafs_err_set(reterr, -EINVAL, "%s: '%s' is no %s for '%s'%s", p->where,
				     text, is_size ? "size" : "number", def->name,
				     is_size ? ": use bytes, or K, M, G as in 4M" : "");
	value *= factor;
	if (!(value >= def->min && value <= def->max))
		return adafs_err_set(reterr, -EINVAL, "%s: %s=%s is outside %.10g to %.10g",
				     p->where, def->name, text, def->min, def->max);
	*ret = value;
	return 0;
}

/* A number, or a name that this machine knows. */
static int parse_id(const struct parser *p, const char *name, const char *text, bool is_group,
		    unsigned *ret, struct adafs_err *reterr)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	if (*text >= '0' && *text <= '9' && !*end && value < UINT_MAX) {
		*ret = (unsigned)value;
		return 0;
	}
	const struct group *group = is_group ? getgrnam(text) : NULL;
	const struct passwd *user = is_group ? NULL : getpwnam(text);
	if (!group && !user)
		return adafs_err_set(reterr, -EINVAL, "%s: %s=%s is no number or name of a %s",
				     p->where, name, text, is_group ? "group" : "user");
	*ret = group ? group->gr_gid : user->pw_uid;
	return 0;
}

static int parse_umask(struct parser *p, const char *text, struct adafs_err *reterr)
{
	char *end;
	unsigned long value = strtoul(text, &end, 8);

	if (*text < '0' || *text > '7' || *end || value > 0777)
		return adafs_err_set(reterr, -EINVAL,
				     "%s: umask=%s is no octal number from 0 to 0777", p->where,
				     text);
	p->o->umask = (mode_t)value;
	return 0;
}

static int add_fuse_arg(struct options *o, const char *name, const char *value)
{
	char **grown = realloc(o->fuse_args, (size_t)(o->n_fuse_args + 2) * sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	o->fuse_args = grown;
	char *flag = strdup("-o");
	char *text = value ? adafs_fmt("%s=%s", name, value) : strdup(name);
	if (!flag || !text) {
		free(flag);
		free(text);
		return -ENOMEM;
	}
	o->fuse_args[o->n_fuse_args++] = flag;
	o->fuse_args[o->n_fuse_args++] = text;
	return 0;
}

static int refuse_secret(const struct parser *p, const struct option_def *def,
			 struct adafs_err *reterr)
{
	static const char *const variable[N_CREDS] = {
		[CRED_CONNECTION] = "AZURE_STORAGE_CONNECTION_STRING",
		[CRED_KEY] = "AZURE_STORAGE_KEY",
		[CRED_SAS] = "AZURE_STORAGE_SAS_TOKEN",
		[CRED_BATCH_KEY] = "AZURE_BATCH_ACCESS_KEY",
	};

	return adafs_err_set(
		reterr, -EINVAL,
		"%s: '%s' is refused here, since every user of this machine can read command "
		"lines: use %s in the environment, or the configuration file",
		p->where, def->name, variable[def->offset]);
}

static int parse_auth(struct parser *p, const char *value, struct adafs_err *reterr)
{
	static const struct {
		const char *name;
		enum options_auth auth;
		enum adafs_entra_kind kind;
	} known[] = {
		{ "auto", AUTH_AUTO, ADAFS_ENTRA_AUTO },
		{ "key", AUTH_KEY, ADAFS_ENTRA_AUTO },
		{ "sas", AUTH_SAS, ADAFS_ENTRA_AUTO },
		{ "env", AUTH_ENTRA, ADAFS_ENTRA_ENVIRONMENT },
		{ "workload", AUTH_ENTRA, ADAFS_ENTRA_WORKLOAD },
		{ "msi", AUTH_ENTRA, ADAFS_ENTRA_MANAGED },
		{ "cli", AUTH_ENTRA, ADAFS_ENTRA_CLI },
	};

	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(known); i++) {
		if (strcmp(known[i].name, value) == 0) {
			p->o->auth = known[i].auth;
			p->said.auth_kind = known[i].kind;
			return 0;
		}
	}
	return adafs_err_set(reterr, -EINVAL,
			     "%s: auth=%s: use auto, key, sas, env, workload, msi or cli", p->where,
			     value);
}

static int apply_value(struct parser *p, const struct option_def *def, const char *value,
		       struct adafs_err *reterr)
{
	void *at = (char *)p->o + def->offset;
	double number;
	int rc;

	switch (def->kind) {
	case KIND_TEXT:
		if (!*value)
			return adafs_err_set(reterr, -EINVAL, "%s: '%s' is empty", p->where,
					     def->name);
		return set_text(at, value);
	case KIND_COUNT:
		rc = parse_number(p, def, value, false, &number, reterr);
		if (rc == 0 && number != (uint32_t)number)
			return adafs_err_set(reterr, -EINVAL, "%s: %s=%s is no whole number",
					     p->where, def->name, value);
		if (rc == 0)
			*(uint32_t *)at = (uint32_t)number;
		return rc;
	case KIND_SIZE:
		rc = parse_number(p, def, value, true, &number, reterr);
		if (rc == 0)
			*(uint64_t *)at = (uint64_t)number;
		return rc;
	case KIND_SIZE32:
		rc = parse_number(p, def, value, true, &number, reterr);
		if (rc == 0)
			*(uint32_t *)at = (uint32_t)number;
		return rc;
	case KIND_MS:
		rc = parse_number(p, def, value, false, &number, reterr);
		if (rc == 0)
			*(uint32_t *)at = (uint32_t)(number * 1000);
		return rc;
	case KIND_SECONDS:
		rc = parse_number(p, def, value, false, &number, reterr);
		if (rc == 0)
			*(double *)at = number;
		return rc;
	case KIND_KEEP:
		rc = adafs_keep_parse(value, at, reterr);
		return rc ? adafs_err_prefix(reterr, "%s: %s", p->where, def->name) : 0;
	case KIND_FLAG:
		*(bool *)at = true;
		return 0;
	case KIND_SWITCH:
		if (strcmp(value, "on") && strcmp(value, "off"))
			return adafs_err_set(reterr, -EINVAL, "%s: '%s' is on or off, not '%s'",
					     p->where, def->name, value);
		*(bool *)at = !strcmp(value, "on");
		return 0;
	case KIND_GROUPING:
		if (strcmp(value, "image") && strcmp(value, "event"))
			return adafs_err_set(reterr, -EINVAL,
					     "%s: grouping is image or event, not '%s'", p->where,
					     value);
		*(bool *)at = !strcmp(value, "event");
		return 0;
	case KIND_CLEAR:
		*(bool *)at = false;
		return 0;
	case KIND_UMASK:
		return parse_umask(p, value, reterr);
	case KIND_CONFIG:
		/* By read_command_first. */
		return p->source == SOURCE_COMMAND
			       ? 0
			       : adafs_err_set(reterr, -EINVAL, "%s: 'config' is for -o only",
					       p->where);
	case KIND_UID:
		p->o->has_uid = true;
		return parse_id(p, def->name, value, false, &p->o->uid, reterr);
	case KIND_GID:
		p->o->has_gid = true;
		return parse_id(p, def->name, value, true, &p->o->gid, reterr);
	case KIND_FUSE:
		return add_fuse_arg(p->o, def->name, value);
	case KIND_SECRET:
		if (p->source == SOURCE_COMMAND)
			return refuse_secret(p, def, reterr);
		p->file_has_key = true;
		return set_text(&p->found[def->offset], value);
	case KIND_CRED:
		return set_text(&p->found[def->offset], value);
	case KIND_AUTH:
		return parse_auth(p, value, reterr);
	case KIND_IGNORED:
		return 0;
	case KIND_REFUSED:
		return adafs_err_set(reterr, -EINVAL, "%s: '%s' is not possible: %s", p->where,
				     def->name, def->help);
	}
	return -EINVAL;
}

/* --- names -------------------------------------------------------------------------------- */

static int unknown_option(const struct parser *p, const char *name, struct adafs_err *reterr)
{
	/* A value whose '=' was lost may be a key. */
	if (name[strcspn(name, " \t")] || strlen(name) > MAX_SHOWN_NAME)
		return adafs_err_set(reterr, -EINVAL,
				     "%s: this is no name=value; adafs --help lists all names",
				     p->where);
	const char *nearest = options_nearest(name);
	if (nearest)
		return adafs_err_set(reterr, -EINVAL, "%s: unknown option '%s'; did you mean '%s'?",
				     p->where, name, nearest);
	return adafs_err_set(reterr, -EINVAL,
			     "%s: unknown option '%s'; adafs --help lists them all", p->where,
			     name);
}

/* One option, "name" or "name=value"; text is changed. */
static int apply_option(struct parser *p, char *text, struct adafs_err *reterr)
{
	char *value = strchr(text, '=');

	if (value)
		*value++ = '\0';
	/* Options of systemd and others: for them, not for us. */
	if (strncasecmp(text, "x-", 2) == 0 || strcmp(text, "comment") == 0)
		return 0;
	for (char *c = text; *c; c++)
		if (*c == '-')
			*c = '_';
	const struct option_def *def = options_find(text);
	if (p->first)
		return def && def->kind == KIND_CONFIG && value ? set_text(&p->config, value) : 0;
	if (!def)
		return unknown_option(p, text, reterr);
	if (def->takes_value && !value)
		return adafs_err_set(reterr, -EINVAL, "%s: '%s' needs a value: %s=%s", p->where,
				     text, text, def->value);
	if (!def->takes_value && value && def->kind != KIND_IGNORED)
		return adafs_err_set(reterr, -EINVAL, "%s: '%s' takes no value", p->where, text);
	int rc = apply_value(p, def, value, reterr);
	return rc == -ENOMEM ? adafs_err_set(reterr, rc, "out of memory") : rc;
}

/* --- the three sources -------------------------------------------------------------------- */

/* free() it; NULL: out of memory. */
static char *xdg_path(const char *variable, const char *fallback, const char *rest)
{
	const char *base = getenv(variable);
	const char *home = getenv("HOME");

	if (base && *base == '/')
		return adafs_fmt("%s/%s", base, rest);
	return adafs_fmt("%s/%s/%s", home && *home == '/' ? home : "/root", fallback, rest);
}

static char *trim(char *line)
{
	line += strspn(line, " \t");
	size_t len = strlen(line);
	while (len > 0 && strchr(" \t\r", line[len - 1]))
		line[--len] = '\0';
	return line;
}

/* "name = value", as people write in files. */
static void close_up(char *line)
{
	char *equals = strchr(line, '=');

	if (!equals)
		return;
	char *name_end = equals;
	while (name_end > line && strchr(" \t", name_end[-1]))
		name_end--;
	const char *value = equals + 1 + strspn(equals + 1, " \t");
	*name_end = '=';
	memmove(name_end + 1, value, strlen(value) + 1);
}

static int read_lines(struct parser *p, const char *path, char *text, struct adafs_err *reterr)
{
	char *rest = text;
	unsigned number = 0;

	for (char *line; (line = strsep(&rest, "\n"));) {
		number++;
		line = trim(line);
		if (!*line || *line == '#')
			continue;
		close_up(line);
		ADAFS_FREE char *where = adafs_fmt("%s:%u", path, number);
		if (!where)
			return adafs_err_set(reterr, -ENOMEM, "out of memory");
		p->where = where;
		int rc = apply_option(p, line, reterr);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int read_config(struct parser *p, struct adafs_err *reterr)
{
	ADAFS_FREE char *path =
		p->config ? strdup(p->config)
			  : xdg_path("XDG_CONFIG_HOME", ".config", "adafs/adafs.conf");
	char *text = NULL;
	size_t len;
	struct stat st;

	if (!path)
		return adafs_err_set(reterr, -ENOMEM, "out of memory");
	int rc = adafs_file_read(path, MIB, &text, &len, reterr);
	/* One that is named has to be there. */
	if ((rc == -ENOENT || rc == -ENOTDIR) && !p->config)
		return 0;
	if (rc < 0)
		return rc;
	p->source = SOURCE_FILE;
	rc = read_lines(p, path, text, reterr);
	explicit_bzero(text, len);
	free(text);
	if (rc < 0)
		return rc;
	if (p->file_has_key && (stat(path, &st) < 0 || (st.st_mode & 077)))
		return adafs_err_set(reterr, -EINVAL,
				     "%s holds a key and others may read it: chmod 600 it", path);
	take_creds(p);
	return 0;
}

static int set_from(char **at, const char *variable)
{
	const char *value = getenv(variable);

	return value && *value ? set_text(at, value) : 0;
}

static int read_environment(struct parser *p, struct adafs_err *reterr)
{
	static const struct {
		const char *name;
		enum cred cred;
	} variable[] = {
		{ "AZURE_STORAGE_CONNECTION_STRING", CRED_CONNECTION },
		{ "AZURE_STORAGE_ACCOUNT", CRED_ACCOUNT },
		{ "AZURE_STORAGE_ACCESS_KEY", CRED_KEY },
		{ "AZURE_STORAGE_KEY", CRED_KEY },
		{ "AZURE_STORAGE_SAS_TOKEN", CRED_SAS },
		{ "AZURE_STORAGE_BLOB_ENDPOINT", CRED_ENDPOINT },
		{ "AZURE_BATCH_ACCOUNT", CRED_BATCH_ACCOUNT },
		{ "AZURE_BATCH_ACCESS_KEY", CRED_BATCH_KEY },
		{ "AZURE_BATCH_ENDPOINT", CRED_BATCH_ENDPOINT },
	};

	p->source = SOURCE_ENVIRONMENT;
	if (set_from(&p->o->pool_make.registry_user, "ADAFS_REGISTRY_USER") < 0 ||
	    set_from(&p->o->pool_make.registry_password, "ADAFS_REGISTRY_PASSWORD") < 0)
		return adafs_err_set(reterr, -ENOMEM, "out of memory");
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(variable); i++) {
		const char *value = getenv(variable[i].name);
		if (value && *value && set_text(&p->found[variable[i].cred], value) < 0)
			return adafs_err_set(reterr, -ENOMEM, "out of memory");
	}
	take_creds(p);
	return 0;
}

/* The text of one -o: options between commas; "\," is a comma inside a value. */
static int apply_list(struct parser *p, const char *list, struct adafs_err *reterr)
{
	p->where = "in -o";
	while (*list) {
		ADAFS_FREE char *item = malloc(strlen(list) + 1);
		size_t n = 0;
		if (!item)
			return adafs_err_set(reterr, -ENOMEM, "out of memory");
		for (; *list && *list != ','; list++) {
			if (*list == '\\' && (list[1] == ',' || list[1] == '\\'))
				list++;
			item[n++] = *list;
		}
		item[n] = '\0';
		list += *list == ',';
		int rc = n ? apply_option(p, item, reterr) : 0;
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int read_command(struct parser *p, int argc, char **argv, struct adafs_err *reterr)
{
	const char *word[2];
	int n_words = 0;
	bool only_words = false;

	p->source = SOURCE_COMMAND;
	for (int i = 0; i < argc; i++) {
		const char *arg = argv[i];
		int rc = 0;
		if (only_words || arg[0] != '-' || !arg[1]) {
			if (n_words == 2)
				return adafs_err_set(reterr, -EINVAL, "too many arguments: '%s'",
						     arg);
			word[n_words++] = arg;
		} else if (strcmp(arg, "--") == 0) {
			only_words = true;
		} else if (strcmp(arg, "-o") == 0) {
			if (++i == argc)
				return adafs_err_set(reterr, -EINVAL, "-o needs an option");
			rc = apply_list(p, argv[i], reterr);
		} else if (strncmp(arg, "-o", 2) == 0) {
			rc = apply_list(p, arg + 2, reterr);
		} else if (strcmp(arg, "-f") == 0) {
			p->o->foreground = true;
		} else if (strcmp(arg, "-d") == 0) {
			p->o->foreground = p->o->debug = true;
		} else {
			return adafs_err_set(reterr, -EINVAL,
					     "unknown argument '%s'; see adafs --help", arg);
		}
		if (rc < 0)
			return rc;
	}
	take_creds(p);
	if ((n_words == 2 && set_text(&p->o->source, word[0]) < 0) ||
	    (n_words > 0 && set_text(&p->o->mountpoint, word[n_words - 1]) < 0))
		return adafs_err_set(reterr, -ENOMEM, "out of memory");
	return 0;
}

/* --- putting it together ------------------------------------------------------------------ */

static int make_absolute(char **path)
{
	return *path ? mountpoint_absolute(path) : 0;
}

static int set_defaults(struct options *o)
{
	o->cache_size = 32 * GIB;
	o->memory_cache = 32 * MIB;
	o->disk_cache_size = 10 * GIB;
	o->block_size = 4 * MIB;
	o->io_timeout_ms = 30000;
	o->attr_timeout_s = 5;
	o->dir = xdg_path("XDG_DATA_HOME", ".local/share", "adafs/emulator");
	o->container = strdup("ada");
	o->pipeline = strdup("quicklook");
	return o->dir && o->container && o->pipeline ? 0 : -ENOMEM;
}

static bool is_file(const char *pipeline)
{
	size_t len = strlen(pipeline);

	return strchr(pipeline, '/') || (len > 5 && strcmp(pipeline + len - 5, ".json") == 0);
}

static bool pool_id_ok(const char *id)
{
	size_t len = strlen(id);

	return len <= 64 &&
	       len == strspn(id,
			     "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_");
}

static bool describes_pool(const struct adafs_pool_settings *s)
{
	return s->image || s->node_agent || s->containers || s->registry || s->dedicated ||
	       s->spot || s->slots;
}

static int finish(struct parser *p, struct adafs_err *reterr)
{
	struct options *o = p->o;
	int rc = credentials_apply(&p->said, reterr);

	if (rc < 0)
		return rc;
	/* Nodes in Azure would call themselves. */
	if (o->has_batch && !adafs_url_is_loopback(o->batch.endpoint) &&
	    (!o->has_storage || adafs_url_is_loopback(o->storage.endpoint)))
		return adafs_err_set(
			reterr, -EINVAL,
			"Batch at %s cannot reach blobs on this machine: set a storage account "
			"of Azure too (AZURE_STORAGE_CONNECTION_STRING), or no Batch account",
			o->batch.endpoint);
	if (names_check_container(o->container) < 0)
		return adafs_err_set(
			reterr, -EINVAL,
			"container=%s: a container's name is 3 to 63 of a-z, 0-9 and single hyphens inside",
			o->container);
	if (o->pool && !pool_id_ok(o->pool))
		return adafs_err_set(
			reterr, -EINVAL,
			"pool=%s: a pool's id is 1 to 64 of letters, digits, '-' and '_'", o->pool);
	if (!o->pool_make.vm_sizes && describes_pool(&o->pool_make))
		return adafs_err_set(
			reterr, -EINVAL,
			"pool_ options describe a pool to be made, and pool_vm_size= is missing: set it, or "
			"take them away");
	if (make_absolute(&o->dir) < 0)
		return adafs_err_set(reterr, -EINVAL, "dir=%s: there is no such place", o->dir);
	if (make_absolute(&o->disk_cache) < 0)
		return adafs_err_set(reterr, -EINVAL, "disk_cache=%s: there is no such place",
				     o->disk_cache);
	if (is_file(o->pipeline) && make_absolute(&o->pipeline) < 0)
		return adafs_err_set(reterr, -EINVAL, "pipeline=%s: there is no such file",
				     o->pipeline);
	if (make_absolute(&o->mountpoint) < 0)
		return adafs_err_set(reterr, -EINVAL, "mount point '%s' does not exist",
				     o->mountpoint);
	return 0;
}

/* The file that -o names comes before everything that -o says. */
static int read_command_first(struct parser *p, int argc, char **argv, struct adafs_err *reterr)
{
	int rc = 0;

	p->first = true;
	for (int i = 0; rc == 0 && i < argc && strcmp(argv[i], "--"); i++) {
		if (strcmp(argv[i], "-o") == 0 && i + 1 < argc)
			rc = apply_list(p, argv[++i], reterr);
		else if (strncmp(argv[i], "-o", 2) == 0)
			rc = apply_list(p, argv[i] + 2, reterr);
	}
	p->first = false;
	return rc < 0 || !p->config || make_absolute(&p->config) == 0
		       ? rc
		       : adafs_err_set(reterr, -EINVAL, "config=%s: there is no such file",
				       p->config);
}

static int parse(struct options *o, int argc, char **argv, bool whole, struct adafs_err *reterr)
{
	struct parser p = { .o = o, .said.o = o };

	*o = (struct options){ 0 };
	int rc = set_defaults(o) < 0 ? adafs_err_set(reterr, -ENOMEM, "out of memory") : 0;
	if (rc == 0)
		rc = read_command_first(&p, argc, argv, reterr);
	if (rc == 0)
		rc = read_config(&p, reterr);
	if (rc == 0)
		rc = read_environment(&p, reterr);
	if (rc == 0)
		rc = read_command(&p, argc, argv, reterr);
	if (rc == 0 && whole)
		rc = finish(&p, reterr);
	for (int i = 0; i < N_CREDS; i++) {
		wipe(&p.said.cred[i]);
		wipe(&p.found[i]);
	}
	free(p.config);
	if (rc < 0)
		options_clear(o);
	return rc;
}

int options_parse(struct options *o, int argc, char **argv, struct adafs_err *reterr)
{
	return parse(o, argc, argv, true, reterr);
}

int options_parse_again(struct options *o, int argc, char **argv, struct adafs_err *reterr)
{
	return parse(o, argc, argv, false, reterr);
}

static void pool_settings_clear(struct adafs_pool_settings *s)
{
	free(s->vm_sizes);
	free(s->image);
	free(s->node_agent);
	free(s->containers);
	free(s->registry);
	wipe(&s->registry_user);
	wipe(&s->registry_password);
}

void options_clear(struct options *o)
{
	free(o->source);
	free(o->mountpoint);
	free(o->container);
	free(o->pipeline);
	free(o->pool);
	pool_settings_clear(&o->pool_make);
	free(o->dir);
	free(o->disk_cache);
	free(o->log_level);
	free(o->node_identity);
	adafs_storage_account_clear(&o->storage);
	adafs_batch_account_clear(&o->batch);
	adafs_entra_clear(&o->entra);
	for (int i = 0; i < o->n_fuse_args; i++)
		free(o->fuse_args[i]);
	free(o->fuse_args);
	*o = (struct options){ 0 };
}
