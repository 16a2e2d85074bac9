/* fs/blob/names.h - which names the Blob service and POSIX both allow. */
#ifndef ADAFS_FS_BLOB_NAMES_H
#define ADAFS_FS_BLOB_NAMES_H

/*
 * Whether a blob may be made under this whole name, of which the last segment is new. 0; -EILSEQ:
 * not UTF-8; -EINVAL: a backslash (the service makes it a slash), a control character or U+FFFE,
 * U+FFFF (listings cannot carry them), an empty segment, "." or ".."; -ENAMETOOLONG: a segment
 * above 255 bytes, or above 1024 UTF-16 units or 254 segments in all.
 */
int names_check_blob(const char *blob);
/* Only its length and depth: for names that somebody else made. 0 or -ENAMETOOLONG. */
int names_check_length(const char *blob);
/* The same for a container: 3 to 63 of a-z, 0-9 and single hyphens inside. 0, -EINVAL,
 * -ENAMETOOLONG. */
int names_check_container(const char *name);

#endif
