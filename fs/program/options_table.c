/*
 * fs/program/options_table.c - the table of options: each once, with how it is read, where it goes
 * and its line of --help.
 */
#include "fs/program/options_table.h"

#include <stdio.h>
#include <string.h>

#include "batch/base/nearest.h"
#include "fs/program/credentials.h"
#include "fs/program/options.h"

#define MIB ((uint64_t)1 << 20)

#define AT(member) offsetof(struct options, member)
static const struct option_def table[] = {
	{ "container", KIND_TEXT, AT(container), true, 0, 0, "NAME",
	  "container of images, jobs and results; made if missing (ada)" },
	{ "pipeline", KIND_TEXT, AT(pipeline), true, 0, 0, "NAME|FILE",
	  "what is done with an image (quicklook)" },
	{ "pool", KIND_TEXT, AT(pool), true, 0, 0, "ID",
	  "Batch pool that runs the jobs (local, on the embedded engine)" },
	{ "pool_vm_size", KIND_TEXT, AT(pool_make.vm_sizes), true, 0, 0, "SIZE[,SIZE...]",
	  "make the pool of this VM size if it is missing; the next when one cannot be had" },
	{ "pool_image", KIND_TEXT, AT(pool_make.image), true, 0, 0, "PUBLISHER:OFFER:SKU[:VERSION]",
	  "its operating system (microsoft-dsvm:ubuntu-hpc:2204)" },
	{ "pool_node_agent", KIND_TEXT, AT(pool_make.node_agent), true, 0, 0, "SKU",
	  "node agent that belongs to pool_image (batch.node.ubuntu 22.04)" },
	{ "pool_container_image", KIND_TEXT, AT(pool_make.containers), true, 0, 0,
	  "IMAGE[,IMAGE...]", "container images that its nodes pull at start (the pipeline's)" },
	{ "pool_registry_server", KIND_TEXT, AT(pool_make.registry), true, 0, 0, "SERVER",
	  "registry of these, entered with ADAFS_REGISTRY_USER and ADAFS_REGISTRY_PASSWORD" },
	{ "pool_dedicated", KIND_COUNT, AT(pool_make.dedicated), true, 0, 10000, "N",
	  "its most dedicated nodes (1, or 0 with pool_spot)" },
	{ "pool_spot", KIND_COUNT, AT(pool_make.spot), true, 0, 10000, "N",
	  "its most Spot nodes beside those (0)" },
	{ "pool_slots", KIND_COUNT, AT(pool_make.slots), true, 1, 256, "N",
	  "tasks that a node runs at a time (4, or the largest step's slots)" },
	{ "dir", KIND_TEXT, AT(dir), true, 0, 0, "PATH",
	  "state of the embedded engine ($XDG_DATA_HOME/adafs/emulator)" },
	{ "cache_size", KIND_SIZE, AT(cache_size), true, 16 * MIB, 1e18, "SIZE",
	  "local disk that files being written may take (32G)" },
	{ "memory_cache", KIND_SIZE, AT(memory_cache), true, 16 * MIB, 1e18, "SIZE",
	  "memory that what is read from blobs may take (32M)" },
	{ "disk_cache", KIND_TEXT, AT(disk_cache), true, 0, 0, "DIR",
	  "keep what is read from blobs there, for later mounts too (not kept)" },
	{ "disk_cache_size", KIND_SIZE, AT(disk_cache_size), true, 64 * MIB, 1e18, "SIZE",
	  "most that is kept in disk_cache (10G)" },
	{ "block_size", KIND_SIZE32, AT(block_size), true, 65536, 64 * MIB, "SIZE",
	  "size of an uploaded block (4M)" },
	{ "md5", KIND_SWITCH, AT(md5), true, 0, 0, "on|off",
	  "store the MD5 of files that are written in blocks, too (off)" },
	{ "poll", KIND_MS, AT(poll_ms), true, 0.05, 3600, "SECONDS",
	  "shortest time between two looks at a running job (2)" },
	{ "node_identity", KIND_TEXT, AT(node_identity), true, 0, 0, "RESOURCE_ID|auto|off",
	  "identity of the pool by which nodes enter the container instead of a SAS (auto)" },
	{ "grouping", KIND_GROUPING, AT(by_event), true, 0, 0, "image|event",
	  "a Batch job for each image, or one for all of an event once it is whole (image)" },
	{ "settle", KIND_MS, AT(settle_ms), true, 0.1, 86400, "SECONDS",
	  "so long nothing is copied into an event before it is whole (10)" },
	{ "io_timeout", KIND_MS, AT(io_timeout_ms), true, 1, 3600, "SECONDS",
	  "longest wait without a byte moved (30)" },
	{ "attr_timeout", KIND_SECONDS, AT(attr_timeout_s), true, 0, 86400, "SECONDS",
	  "how long names and attributes of blobs are believed (5)" },
	{ "keep", KIND_KEEP, AT(keep_ms), true, 0, 0, "DURATION|forever",
	  "how long logs and work of ended jobs stay, as 12h or P30D; results always do (30d)" },
	{ "log_level", KIND_TEXT, AT(log_level), true, 0, 0, "LEVEL[,PART:LEVEL]",
	  "error, warn, info or debug (warn)" },
	{ "config", KIND_CONFIG, 0, true, 0, 0, "FILE",
	  "read this file instead ($XDG_CONFIG_HOME/adafs/adafs.conf)" },
	{ "ro", KIND_FLAG, AT(read_only), false, 0, 0, NULL, "read-only" },
	{ "uid", KIND_UID, 0, true, 0, 0, "N|NAME", "owner of all files (who mounts)" },
	{ "gid", KIND_GID, 0, true, 0, 0, "N|NAME", "group of all files (who mounts)" },
	{ "umask", KIND_UMASK, 0, true, 0, 0, "OCTAL", "permission bits that no file has (0)" },
	{ "nonempty", KIND_FLAG, AT(nonempty), false, 0, 0, NULL,
	  "mount on a directory that holds something, which is hidden then" },
	{ "account_name", KIND_CRED, CRED_ACCOUNT, true, 0, 0, "NAME", "storage account" },
	{ "blob_endpoint", KIND_CRED, CRED_ENDPOINT, true, 0, 0, "URL", "its Blob endpoint" },
	{ "account_key", KIND_SECRET, CRED_KEY, true, 0, 0, "BASE64", "its key; in the file only" },
	{ "sas_token", KIND_SECRET, CRED_SAS, true, 0, 0, "TOKEN", "its SAS; in the file only" },
	{ "connection_string", KIND_SECRET, CRED_CONNECTION, true, 0, 0, "TEXT",
	  "all of these at once; in the file only" },
	{ "batch_account", KIND_CRED, CRED_BATCH_ACCOUNT, true, 0, 0, "NAME", "Batch account" },
	{ "batch_endpoint", KIND_CRED, CRED_BATCH_ENDPOINT, true, 0, 0, "URL", "its endpoint" },
	{ "batch_key", KIND_SECRET, CRED_BATCH_KEY, true, 0, 0, "BASE64",
	  "its key; in the file only" },
	{ "auth", KIND_AUTH, 0, true, 0, 0, "auto|key|sas|env|workload|msi|cli",
	  "credential; env to cli are of Entra ID (a key, else a SAS, else what is there)" },
	{ "identity", KIND_TEXT, AT(entra.identity), true, 0, 0, "ID",
	  "managed identity: a client id, object:ID or resource id" },
	{ "sas_to_tasks", KIND_FLAG, AT(sas_to_tasks), false, 0, 0, NULL,
	  "nodes may get the SAS that the mount was given" },
	{ "sas_life", KIND_COUNT, AT(sas_life_s), true, 10, 366 * 86400, "SECONDS",
	  "how long a task may wait and run on one SAS (30 days; Entra ID: 7, its most)" },
	{ "allow_other", KIND_FUSE, 0, false, 0, 0, NULL, "other users may enter" },
	{ "allow_root", KIND_FUSE, 0, false, 0, 0, NULL, "root may enter" },
	{ "default_permissions", KIND_FUSE, 0, false, 0, 0, NULL, "the kernel checks permissions" },
	{ "auto_unmount", KIND_FUSE, 0, false, 0, 0, NULL, "unmount when the process ends" },
	{ "fsname", KIND_FUSE, 0, true, 0, 0, "NAME", "name in /proc/mounts" },
	{ "subtype", KIND_FUSE, 0, true, 0, 0, "NAME", "type in /proc/mounts (adafs)" },
	{ "noexec", KIND_FUSE, 0, false, 0, 0, NULL, "no file can be run" },
	{ "exec", KIND_FUSE, 0, false, 0, 0, NULL, NULL },
	{ "noatime", KIND_FUSE, 0, false, 0, 0, NULL, NULL },
	{ "sync", KIND_FUSE, 0, false, 0, 0, NULL, NULL },
	{ "async", KIND_FUSE, 0, false, 0, 0, NULL, NULL },
	{ "dirsync", KIND_FUSE, 0, false, 0, 0, NULL, NULL },
	{ "rw", KIND_CLEAR, AT(read_only), false, 0, 0, NULL, NULL },
	/* Nothing here is a device or runs as somebody else, whatever is asked for. */
	{ "dev", KIND_IGNORED, 0, false, 0, 0, NULL, NULL },
	{ "nodev", KIND_IGNORED, 0, false, 0, 0, NULL, NULL },
	{ "suid", KIND_IGNORED, 0, false, 0, 0, NULL, NULL },
	{ "nosuid", KIND_IGNORED, 0, false, 0, 0, NULL, NULL },
	/* Times of the last access are kept by nobody. */
	{ "atime", KIND_IGNORED, 0, false, 0, 0, NULL, NULL },
	{ "relatime", KIND_IGNORED, 0, false, 0, 0, NULL, NULL },
	{ "norelatime", KIND_IGNORED, 0, false, 0, 0, NULL, NULL },
	{ "strictatime", KIND_IGNORED, 0, false, 0, 0, NULL, NULL },
	{ "nostrictatime", KIND_IGNORED, 0, false, 0, 0, NULL, NULL },
	{ "lazytime", KIND_IGNORED, 0, false, 0, 0, NULL, NULL },
	{ "nolazytime", KIND_IGNORED, 0, false, 0, 0, NULL, NULL },
	{ "diratime", KIND_IGNORED, 0, false, 0, 0, NULL, NULL },
	{ "nodiratime", KIND_IGNORED, 0, false, 0, 0, NULL, NULL },
	/* For mount(8), systemd and other readers of fstab. */
	{ "defaults", KIND_IGNORED, 0, false, 0, 0, NULL, NULL },
	{ "auto", KIND_IGNORED, 0, false, 0, 0, NULL, NULL },
	{ "noauto", KIND_IGNORED, 0, false, 0, 0, NULL, NULL },
	{ "nofail", KIND_IGNORED, 0, false, 0, 0, NULL, NULL },
	{ "fail", KIND_IGNORED, 0, false, 0, 0, NULL, NULL },
	{ "_netdev", KIND_IGNORED, 0, false, 0, 0, NULL, NULL },
	{ "user", KIND_IGNORED, 0, false, 0, 0, NULL, NULL },
	{ "users", KIND_IGNORED, 0, false, 0, 0, NULL, NULL },
	{ "owner", KIND_IGNORED, 0, false, 0, 0, NULL, NULL },
	{ "group", KIND_IGNORED, 0, false, 0, 0, NULL, NULL },
	{ "nouser", KIND_IGNORED, 0, false, 0, 0, NULL, NULL },
	{ "nousers", KIND_IGNORED, 0, false, 0, 0, NULL, NULL },
	{ "noowner", KIND_IGNORED, 0, false, 0, 0, NULL, NULL },
	{ "nogroup", KIND_IGNORED, 0, false, 0, 0, NULL, NULL },
	{ "silent", KIND_IGNORED, 0, false, 0, 0, NULL, NULL },
	{ "loud", KIND_IGNORED, 0, false, 0, 0, NULL, NULL },
	{ "mand", KIND_IGNORED, 0, false, 0, 0, NULL, NULL },
	{ "nomand", KIND_IGNORED, 0, false, 0, 0, NULL, NULL },
	{ "iversion", KIND_IGNORED, 0, false, 0, 0, NULL, NULL },
	{ "noiversion", KIND_IGNORED, 0, false, 0, 0, NULL, NULL },
	{ "remount", KIND_REFUSED, 0, false, 0, 0, NULL,
	  "unmount it and mount it again; mount -i -o remount,... changes what the kernel alone keeps (ro, noexec)" },
	{ "bind", KIND_REFUSED, 0, false, 0, 0, NULL,
	  "mount it once, then mount --bind that directory" },
};

const struct option_def *options_find(const char *name)
{
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(table); i++)
		if (strcmp(table[i].name, name) == 0)
			return &table[i];
	return NULL;
}

const char *options_nearest(const char *name)
{
	const char *names[ADAFS_ARRAY_SIZE(table)];

	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(table); i++)
		names[i] = table[i].name;
	return adafs_nearest(name, names, ADAFS_ARRAY_SIZE(names), 3);
}

/* --- the usage text ------------------------------------------------------------------------ */

static const char usage_head[] =
	"usage: adafs [-o OPTION[,OPTION...]] [-f] [-d] [SOURCE] MOUNTPOINT\n"
	"       adafs umount [-l | -f] [-q] [-w SECONDS] MOUNTPOINT\n"
	"       adafs status [--json] MOUNTPOINT\n"
	"       adafs check [-o OPTION[,OPTION...]]\n"
	"       adafs emulator [--dir DIR] [--blob HOST:PORT] [--batch HOST:PORT] [--account NAME]\n"
	"                      [--key BASE64] [--nodes N] [--slots N] [--access-log FILE]\n"
	"       adafs --help | --version\n"
	"\n"
	"  -f   stay in the foreground and log to standard error\n"
	"  -d   the same, with the kernel's requests logged\n"
	"\n"
	"Options (defaults in brackets), also one a line in $XDG_CONFIG_HOME/adafs/adafs.conf:\n";
static const char usage_tail[] =
	"\n"
	"Accounts are taken from the environment of the az command line (AZURE_STORAGE_CONNECTION_STRING,\n"
	"or AZURE_STORAGE_ACCOUNT with AZURE_STORAGE_KEY or AZURE_STORAGE_SAS_TOKEN; AZURE_BATCH_ACCOUNT,\n"
	"AZURE_BATCH_ACCESS_KEY, AZURE_BATCH_ENDPOINT). What is not set is served by the embedded engine.\n"
	"An account that is named without key and SAS is entered by Entra ID (AZURE_CLIENT_ID and so on,\n"
	"workload identity, managed identity, az login): see adafs(1).\n";

void options_print_usage(FILE *to)
{
	fputs(usage_head, to);
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(table); i++) {
		char left[64];
		if (!table[i].help || table[i].kind == KIND_REFUSED)
			continue;
		snprintf(left, sizeof(left), "%s%s%s", table[i].name,
			 table[i].takes_value ? "=" : "", table[i].value ? table[i].value : "");
		fprintf(to, "  %-29s %s\n", left, table[i].help);
	}
	fputs(usage_tail, to);
}
