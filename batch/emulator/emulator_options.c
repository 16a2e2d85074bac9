/* The command line of `adafs emulator`. */
#include "batch/emulator/emulator_internal.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "batch/base/buf.h"
#include "batch/base/codec.h"
#include "batch/base/nearest.h"

#define MAX_NODES 64
#define MAX_SLOTS 256
#define MAX_GRACE_S 86400

const char *emulator_usage(void)
{
	return "usage: adafs emulator [--dir DIR] [--blob HOST:PORT] [--batch HOST:PORT]\n"
	       "                      [--account NAME] [--key BASE64] [--nodes N] [--slots N]\n"
	       "                      [--access-log FILE] [--log-level SPEC] [--while-used FILE]\n"
	       "                      [--grace SECONDS] [--trap NAME=VALUE]... [--issuer FILE]\n"
	       "                      [--no-shared-key] [--containers]\n"
	       "\n"
	       "Serves Azure Blob and Azure Batch on this machine and prints the settings for "
	       "clients.\n"
	       "\n"
	       "  --dir DIR          state; default $XDG_DATA_HOME/adafs/emulator\n"
	       "  --blob HOST:PORT   address of the Blob service, loopback only; port 0: any free "
	       "one\n"
	       "  --batch HOST:PORT  address of the Batch service\n"
	       "  --account NAME     account name, 3 to 24 of a-z and 0-9; default adafs\n"
	       "  --key BASE64       account key; default: a random one, kept in DIR\n"
	       "  --nodes N          nodes of the pool `local'\n"
	       "  --slots N          task slots of each node\n"
	       "  --access-log FILE  append a line for each request\n"
	       "  --log-level SPEC   such as info or emulator:debug\n"
	       "  --while-used FILE  end when nobody holds a lock on FILE and no job is active\n"
	       "  --grace SECONDS    for so long; default 60\n"
	       "  --trap NAME=VALUE  a fault for tests and rehearsals; adafs-emulator(1) lists them\n"
	       "  --issuer FILE      take bearer tokens that a key of this JSON Web Key Set signed\n"
	       "  --containers       run container tasks in podman or docker, not on this machine\n"
	       "  --no-shared-key    refuse the account key and what it signed\n"
	       "  --help             this text\n";
}

static const char *const names[] = { "dir",       "blob",          "batch",      "account",
				     "key",       "nodes",         "slots",      "access-log",
				     "log-level", "while-used",    "grace",      "trap",
				     "issuer",    "no-shared-key", "containers", "help" };

static int unknown_option(const char *text, struct adafs_err *reterr)
{
	const char *nearest = adafs_nearest(text, names, ADAFS_ARRAY_SIZE(names), 3);
	if (nearest)
		return adafs_err_set(reterr, -EINVAL, "unknown option --%s; did you mean --%s?",
				     text, nearest);
	return adafs_err_set(reterr, -EINVAL, "unknown option --%s; --help lists them all", text);
}

static int parse_count(const char *name, const char *value, unsigned max, unsigned *ret,
		       struct adafs_err *reterr)
{
	char *end;
	unsigned long n = strtoul(value, &end, 10);
	if (*value < '0' || *value > '9' || *end || n < 1 || n > max)
		return adafs_err_set(reterr, -EINVAL,
				     "--%s must be a number from 1 to %u, not '%s'", name, max,
				     value);
	*ret = (unsigned)n;
	return 0;
}

int emulator_address_parse(const char *text, struct emulator_address *ret, struct adafs_err *reterr)
{
	struct emulator_address a = { .host = "127.0.0.1", .given = true };
	const char *colon = strrchr(text, ':');
	const char *port = colon ? colon + 1 : text;
	size_t len = colon ? (size_t)(colon - text) : 0;
	if (len >= 2 && text[0] == '[' && text[len - 1] == ']') {
		text++;
		len -= 2;
	}
	char *end;
	unsigned long n = strtoul(port, &end, 10);
	if (*port < '0' || *port > '9' || *end || n > 65535 || len >= sizeof(a.host))
		return adafs_err_set(reterr, -EINVAL, "'%s' is not HOST:PORT", text);
	if (len) {
		memcpy(a.host, text, len);
		a.host[len] = 0;
	}
	a.port = (uint16_t)n;
	*ret = a;
	return 0;
}

static int check_account(const char *name, struct adafs_err *reterr)
{
	size_t len = strlen(name);
	if (len < 3 || len > 24 || name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789")])
		return adafs_err_set(reterr, -EINVAL,
				     "'%s' is no account name: 3 to 24 of a-z and 0-9", name);
	return 0;
}

static int check_key(const char *key, struct adafs_err *reterr)
{
	ADAFS_FREE uint8_t *data = NULL;
	size_t len = 0;
	if (adafs_base64_decode(key, strlen(key), &data, &len) < 0 || len < 16)
		return adafs_err_set(reterr, -EINVAL, "--key must be base64 of at least 16 bytes");
	return 0;
}

static int take(char **field, const char *value)
{
	free(*field);
	*field = strdup(value);
	return *field ? 0 : -ENOMEM;
}

/* Traps add up: the text of all of them is read when there are traps to set. */
static int add_trap(struct emulator_options *o, const char *value)
{
	char *all = o->traps ? adafs_fmt("%s %s", o->traps, value) : strdup(value);
	if (!all)
		return -ENOMEM;
	free(o->traps);
	o->traps = all;
	return 0;
}

static int set_option(struct emulator_options *o, const char *name, char *value,
		      struct adafs_err *reterr)
{
	int rc;
	if (strcmp(name, "dir") == 0)
		return take(&o->dir, value);
	if (strcmp(name, "blob") == 0)
		return emulator_address_parse(value, &o->blob, reterr);
	if (strcmp(name, "batch") == 0)
		return emulator_address_parse(value, &o->batch, reterr);
	if (strcmp(name, "nodes") == 0)
		return parse_count(name, value, MAX_NODES, &o->nodes, reterr);
	if (strcmp(name, "slots") == 0)
		return parse_count(name, value, MAX_SLOTS, &o->slots, reterr);
	if (strcmp(name, "access-log") == 0)
		return take(&o->access_log, value);
	if (strcmp(name, "log-level") == 0)
		return take(&o->log_level, value);
	if (strcmp(name, "grace") == 0)
		return parse_count(name, value, MAX_GRACE_S, &o->grace_s, reterr);
	if (strcmp(name, "while-used") == 0)
		return take(&o->while_used, value);
	if (strcmp(name, "trap") == 0)
		return add_trap(o, value);
	if (strcmp(name, "issuer") == 0)
		return take(&o->issuer, value);
	if (strcmp(name, "account") == 0) {
		rc = check_account(value, reterr);
		return rc == 0 ? take(&o->account, value) : rc;
	}
	rc = check_key(value, reterr);
	if (rc == 0)
		rc = take(&o->key, value);
	memset(value, 'x', strlen(value)); /* argv is public */
	return rc;
}

static bool is_name(const char *name)
{
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(names); i++)
		if (strcmp(names[i], name) == 0)
			return true;
	return false;
}

static int default_dir(struct emulator_options *o, struct adafs_err *reterr)
{
	const char *data = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
	if (o->dir)
		return 0;
	if (data && *data == '/')
		o->dir = adafs_fmt("%s/adafs/emulator", data);
	else if (home && *home == '/')
		o->dir = adafs_fmt("%s/.local/share/adafs/emulator", home);
	else
		return adafs_err_set(reterr, -EINVAL,
				     "neither XDG_DATA_HOME nor HOME is set: give --dir");
	return o->dir ? 0 : adafs_err_set(reterr, -ENOMEM, "out of memory");
}

/* Of an option without a value; NULL: it takes one. */
static bool *flag_of(struct emulator_options *o, const char *name)
{
	if (strcmp(name, "no-shared-key") == 0)
		return &o->no_shared_key;
	return strcmp(name, "containers") == 0 ? &o->containers : NULL;
}

static int parse_one(int argc, char **argv, int *i, struct emulator_options *o,
		     struct adafs_err *reterr)
{
	if (strcmp(argv[*i], "-h") == 0 || strcmp(argv[*i], "--help") == 0) {
		o->help = true;
		return 0;
	}
	if (strncmp(argv[*i], "--", 2) != 0)
		return adafs_err_set(reterr, -EINVAL, "unexpected argument '%s'", argv[*i]);
	char name[64];
	char *text = argv[*i] + 2, *value = strchr(text, '=');
	size_t len = value ? (size_t)(value - text) : strlen(text);
	snprintf(name, sizeof(name), "%.*s", (int)(len < 63 ? len : 63), text);
	if (!is_name(name))
		return unknown_option(name, reterr);
	bool *flag = flag_of(o, name);
	if (flag && value)
		return adafs_err_set(reterr, -EINVAL, "--%s takes no value", name);
	if (flag) {
		*flag = true;
		return 0;
	}
	if (value)
		value++;
	else if (++*i < argc)
		value = argv[*i];
	else
		return adafs_err_set(reterr, -EINVAL, "--%s needs a value", name);
	int rc = set_option(o, name, value, reterr);
	return rc == -ENOMEM ? adafs_err_set(reterr, rc, "out of memory") : rc;
}

int emulator_options_parse(int argc, char **argv, struct emulator_options *ret,
			   struct adafs_err *reterr)
{
	struct emulator_options o = { 0 };
	int rc = 0;
	for (int i = 1; rc == 0 && i < argc; i++)
		rc = parse_one(argc, argv, &i, &o, reterr);
	if (rc == 0 && !o.help)
		rc = default_dir(&o, reterr);
	if (rc < 0) {
		emulator_options_clear(&o);
		return rc;
	}
	*ret = o;
	return 0;
}

void emulator_options_clear(struct emulator_options *o)
{
	free(o->dir);
	free(o->account);
	if (o->key)
		explicit_bzero(o->key, strlen(o->key));
	free(o->key);
	free(o->access_log);
	free(o->log_level);
	free(o->while_used);
	free(o->traps);
	free(o->issuer);
	*o = (struct emulator_options){ 0 };
}
