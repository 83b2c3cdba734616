/*
 * Ordered trees of intervals that do not overlap: treaps, so no path is longer than a few times the
 * logarithm of the number of nodes, but for odds that nobody can raise who does not see the
 * priorities. Nothing recurses. An interval may grow or shrink in place as long as it overlaps no other.
 */
#pragma once

#include "core/types.h"

struct tree_node {
    struct tree_node *left, *right;
    uint64_t start, last; /* both inclusive */
    uint32_t priority;    /* random; none below has a higher one */
};

void tree_insert(struct tree_node **root, struct tree_node *node);
void tree_remove(struct tree_node **root, struct tree_node *node);

/* The lowest interval with last >= place; NULL if none. If it starts above place, then nothing in
 * the tree contains place. */
struct tree_node *tree_first(struct tree_node *root, uint64_t place);

/* The highest interval with start <= place, and the one above it; NULL if none. If it ends below
 * place, then nothing in the tree contains place. */
struct tree_node *tree_last(struct tree_node *root, uint64_t place, struct tree_node **above);
