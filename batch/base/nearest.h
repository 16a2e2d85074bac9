/* base/nearest.h - the hint beside an unknown word: the one of a list that was probably meant. */
#ifndef ADAFS_BASE_NEAREST_H
#define ADAFS_BASE_NEAREST_H

#include <stddef.h>

/*
 * The word of list[0..n-1] with the fewest edits (Levenshtein, bytes) to text, the first of
 * several; borrowed from the list. A word that needs more than max_edits, or as many as it has
 * bytes, is none: then NULL. Words of the list are shorter than 64 bytes.
 */
const char *adafs_nearest(const char *text, const char *const list[], size_t n, unsigned max_edits);

#endif
