/* Which words there are, and which one is meant. */
#include "parser.h"

#include "string.h"

const struct schema_row *find_row(enum schema_block block, const char *word, const char *second)
{
    for (unsigned i = 0; i < schema_row_count; i++) {
        const struct schema_row *row = &schema_rows[i];
        if ((block == BLOCK_NONE || row->block == block) && strcmp(row->word, word) == 0 &&
            (!second || strcmp(row->second, second) == 0))
            return row;
    }
    return NULL;
}

/* How many letters must be put in, taken out, changed or exchanged with their neighbour: optimal
 * string alignment. */
static unsigned distance(const char *a, const char *b)
{
    enum { LONGEST = 24 };
    unsigned rows[3][LONGEST + 1];
    size_t a_length = strlen(a), b_length = strlen(b);
    if (a_length > LONGEST || b_length > LONGEST)
        return LONGEST;
    unsigned *before = rows[0], *last = rows[1], *row = rows[2];
    for (unsigned j = 0; j <= b_length; j++)
        last[j] = before[j] = j;
    for (unsigned i = 1; i <= a_length; i++) {
        row[0] = i;
        for (unsigned j = 1; j <= b_length; j++) {
            unsigned best = last[j - 1] + (a[i - 1] != b[j - 1]);
            best = last[j] + 1 < best ? last[j] + 1 : best;
            best = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                before[j - 2] + 1 < best)
                best = before[j - 2] + 1;
            row[j] = best;
        }
        unsigned *free_row = before;
        before = last, last = row, row = free_row;
    }
    return last[b_length];
}

const char *nearest_word(const char *word, const char *const *words)
{
    /* Half of a short word is another word. */
    unsigned best = strlen(word) < 4 ? 2 : strlen(word) < 8 ? 3 : 4;
    const char *nearest = NULL;
    for (; *words; words++) {
        unsigned d = distance(word, *words);
        if (d < best) {
            best = d;
            nearest = *words;
        }
    }
    return nearest;
}

const char *nearest_in_block(enum schema_block block, uint32_t boot, const char *first,
                             const char *word)
{
    const char *words[SCHEMA_ROWS_MAX + 1];
    unsigned n = 0;
    for (unsigned i = 0; i < schema_row_count; i++) {
        const struct schema_row *row = &schema_rows[i];
        if (row->block == block && schema_row_applies(row, boot) &&
            (!first || strcmp(row->word, first) == 0))
            words[n++] = first ? row->second : row->word;
    }
    words[n] = NULL;
    return nearest_word(word, words);
}
