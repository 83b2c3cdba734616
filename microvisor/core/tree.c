/* Treaps (C. Aragon, R. Seidel, "Randomized search trees", 1989). */
#include "core/tree.h"

#include "x86/processor.h"

/* The time stamp makes the sequence one that no user can compute. Changes are made under
 * mapping_lock. */
static uint32_t random_priority(void)
{
    static uint64_t state;
    state = (state + (uint32_t)processor_ticks()) * 6364136223846793005ull;
    return (uint32_t)(state >> 32);
}

void tree_insert(struct tree_node **root, struct tree_node *node)
{
    struct tree_node **link = root, **left = &node->left, **right = &node->right, *t;
    node->priority = random_priority();
    while ((t = *link) != NULL && t->priority >= node->priority)
        link = node->start < t->start ? &t->left : &t->right;
    *link = node;
    while (t) { /* what was there goes below, by its place */
        if (t->start < node->start) {
            *left = t;
            left = &t->right;
            t = t->right;
        } else {
            *right = t;
            right = &t->left;
            t = t->left;
        }
    }
    *left = *right = NULL;
}

void tree_remove(struct tree_node **root, struct tree_node *node)
{
    struct tree_node **link = root, *left = node->left, *right = node->right;
    while (*link != node)
        link = node->start < (*link)->start ? &(*link)->left : &(*link)->right;
    while (left && right) {
        if (left->priority >= right->priority) {
            *link = left;
            link = &left->right;
            left = left->right;
        } else {
            *link = right;
            link = &right->left;
            right = right->left;
        }
    }
    *link = left ? left : right;
}

struct tree_node *tree_last(struct tree_node *root, uint64_t place, struct tree_node **above)
{
    struct tree_node *found = NULL;
    *above = NULL;
    while (root) {
        if (root->start <= place) {
            found = root;
            root = root->right;
        } else {
            *above = root;
            root = root->left;
        }
    }
    return found;
}

struct tree_node *tree_first(struct tree_node *root, uint64_t place)
{
    struct tree_node *above, *found = tree_last(root, place, &above);
    return found && found->last >= place ? found : above;
}
