/* The words of a partition file. */
#ifndef LIB_PARTITION_LEXER_H
#define LIB_PARTITION_LEXER_H

#include "plan.h"

#include <stdbool.h>
#include <stddef.h>

enum token_kind {
    TOKEN_WORD, /* everything up to a blank, a brace, a quote or a comment */
    TOKEN_TEXT, /* in double quotes, on one line; \" and \\ stand for " and \ */
    TOKEN_OPEN,
    TOKEN_CLOSE,
    TOKEN_BAD, /* what is wrong with it: problem */
    TOKEN_END,
};

struct token {
    enum token_kind kind;
    struct plan_place place;
    const char *problem; /* a sentence and its cure */
    char text[PLAN_COMMAND_LINE_MAX];
};

/* Where in a file the next token begins. The text is read once, byte by byte. */
struct lexer {
    const char *at, *end;
    struct plan_place place;
};

void lexer_begin(struct lexer *lexer, uint32_t file, const char *text, size_t size_bytes);
void lexer_next(struct lexer *lexer, struct token *token);

#endif
