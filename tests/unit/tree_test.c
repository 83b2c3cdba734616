/* links: microvisor/core/tree.c */
#include "unit_test.h"

#include "core/tree.h"

enum { NODES = 2000, STRIDE = 100 };
static struct tree_node nodes[NODES]; /* nodes[i] lies within [i * STRIDE, (i + 1) * STRIDE) */
static uint8_t linked[NODES];
static struct tree_node *root;
static unsigned counted;

/* Depth, or 1000 if a rule is broken; counts nodes. */
static unsigned depth(const struct tree_node *t, uint64_t low, uint64_t high)
{
    if (!t)
        return 0;
    counted++;
    if (t->start < low || t->last > high || (t->left && t->left->priority > t->priority) ||
        (t->right && t->right->priority > t->priority) || (t->left && !t->start))
        return 1000;
    unsigned left = depth(t->left, low, t->start - 1), right = depth(t->right, t->last + 1, high);
    return 1 + (left > right ? left : right);
}

/* Of a tree that has all linked nodes, and no others. */
static unsigned checked_depth(void)
{
    unsigned expected = 0;
    for (unsigned i = 0; i < NODES; i++)
        expected += linked[i];
    counted = 0;
    unsigned result = depth(root, 0, UINT64_MAX);
    EXPECT(counted, expected);
    return result;
}

static struct tree_node *naive_first(uint64_t place)
{
    for (unsigned i = 0; i < NODES; i++) {
        if (linked[i] && nodes[i].last >= place)
            return &nodes[i];
    }
    return NULL;
}

static struct tree_node *naive_last(uint64_t place)
{
    for (unsigned i = NODES; i-- > 0;) {
        if (linked[i] && nodes[i].start <= place)
            return &nodes[i];
    }
    return NULL;
}

static struct tree_node *naive_above(uint64_t place)
{
    for (unsigned i = 0; i < NODES; i++) {
        if (linked[i] && nodes[i].start > place)
            return &nodes[i];
    }
    return NULL;
}

static void start(void)
{
    root = NULL;
    memset(nodes, 0xa5, sizeof(nodes)); /* tree_insert has to set what it uses */
    memset(linked, 0, sizeof(linked));
}

static void put(unsigned i, uint64_t from, uint64_t size)
{
    nodes[i].start = i * STRIDE + from;
    nodes[i].last = nodes[i].start + size - 1;
    tree_insert(&root, &nodes[i]);
    linked[i] = 1;
}

static void take(unsigned i)
{
    tree_remove(&root, &nodes[i]);
    linked[i] = 0;
}

TEST(tree_is_balanced, "rising, falling and inward orders all give a depth of a few times the logarithm")
{
    for (unsigned kind = 0; kind < 3; kind++) {
        start();
        for (unsigned i = 0; i < NODES; i++)
            put(kind == 0 ? i : kind == 1 ? NODES - 1 - i : i % 2 ? i / 2 : NODES - 1 - i / 2, 0, 1);
        CHECK(checked_depth() <= 44); /* 25 is usual; more than 44 in one of 10^9 runs */
        for (unsigned i = 0; i < NODES; i += 2)
            take(i);
        CHECK(checked_depth() <= 44);
    }
}

TEST(tree_priorities_differ, "no two runs of insertions build the same tree")
{
    uint32_t before[64];
    unsigned same = 0;
    for (unsigned run = 0; run < 2; run++) {
        start();
        for (unsigned i = 0; i < 64; i++) {
            put(i, 0, 1);
            if (run)
                same += nodes[i].priority == before[i];
            before[i] = nodes[i].priority;
        }
    }
    CHECK(same < 4);
}

TEST(tree_finds_both_ways, "the first interval that reaches a place is found, and the last that begins before")
{
    start();
    for (unsigned round = 0; round < 6000; round++) {
        unsigned i = (unsigned)(unit_random() % 300);
        if (linked[i]) {
            take(i);
        } else {
            uint64_t from = unit_random() % STRIDE;
            put(i, from, unit_random() % 4 ? 1 + unit_random() % (STRIDE - from) : STRIDE - from);
        }
        if (round % 16 == 0)
            CHECK(checked_depth() < 1000);
        for (unsigned k = 0; k < 4; k++) {
            uint64_t place = unit_random() % (310 * STRIDE);
            EXPECT(tree_first(root, place), naive_first(place));
            struct tree_node *above;
            EXPECT(tree_last(root, place, &above), naive_last(place));
            EXPECT(above, naive_above(place));
        }
    }
    for (unsigned i = 0; i < NODES; i++) {
        if (linked[i])
            take(i);
    }
    EXPECT(root, NULL);
}

TEST(tree_changes_in_place, "an interval whose ends move, without reaching another, is found where it is then")
{
    start();
    for (unsigned i = 0; i < 500; i++)
        put(i, 40, 10);
    for (unsigned round = 0; round < 4000; round++) {
        unsigned i = (unsigned)(unit_random() % 500);
        nodes[i].start = i * STRIDE + unit_random() % 50;
        nodes[i].last = i * STRIDE + 50 + unit_random() % 50;
        uint64_t place = unit_random() % (510 * STRIDE);
        EXPECT(tree_first(root, place), naive_first(place));
        struct tree_node *above;
        EXPECT(tree_last(root, place, &above), naive_last(place));
        EXPECT(above, naive_above(place));
    }
    CHECK(checked_depth() < 1000);
    for (unsigned i = 0; i < 500; i++)
        take(i);
    EXPECT(root, NULL);
}

TEST(tree_ends, "intervals at both ends of the number range are kept apart")
{
    struct tree_node *above;
    start();
    nodes[0].start = nodes[0].last = 0;
    nodes[1].start = nodes[1].last = UINT64_MAX;
    tree_insert(&root, &nodes[0]);
    tree_insert(&root, &nodes[1]);
    EXPECT(tree_first(root, 0), &nodes[0]);
    EXPECT(tree_first(root, 1), &nodes[1]);
    EXPECT(tree_first(root, UINT64_MAX), &nodes[1]);
    EXPECT(tree_last(root, 0, &above), &nodes[0]);
    EXPECT(above, &nodes[1]);
    EXPECT(tree_last(root, UINT64_MAX - 1, &above), &nodes[0]);
    EXPECT(tree_last(root, UINT64_MAX, &above), &nodes[1]);
    EXPECT(above, NULL);
    EXPECT(tree_first(NULL, 0), NULL);
    EXPECT(tree_last(NULL, UINT64_MAX, &above), NULL);
}
