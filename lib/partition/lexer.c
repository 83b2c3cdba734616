/* From bytes to tokens. Nothing in a file can make it fail: what can't be is a token of its own. */
#include "lexer.h"

void lexer_begin(struct lexer *lexer, uint32_t file, const char *text, size_t size_bytes)
{
    *lexer = (struct lexer){text, text + size_bytes, {file, 1, 1}};
}

static char step(struct lexer *lexer)
{
    char c = *lexer->at++;
    lexer->place.column = c == '\n' ? 1 : lexer->place.column + 1;
    lexer->place.line += c == '\n';
    return c;
}

/* Blanks and comments. */
static void skip(struct lexer *lexer)
{
    while (lexer->at < lexer->end) {
        char c = *lexer->at;
        if (c == '#')
            while (lexer->at < lexer->end && *lexer->at != '\n')
                step(lexer);
        else if (c == ' ' || c == '\t' || c == '\r' || c == '\n')
            step(lexer);
        else
            return;
    }
}

static bool is_control(char c)
{
    return (unsigned char)c < ' ' || c == 127;
}

static bool ends_word(char c)
{
    return c == ' ' || c == '{' || c == '}' || c == '"' || c == '#' || is_control(c);
}

static void bad(struct token *token, const char *problem)
{
    token->kind = TOKEN_BAD;
    token->problem = problem;
}

static void add(struct token *token, size_t *length, char c)
{
    if (*length + 1 < sizeof token->text)
        token->text[(*length)++] = c;
    else
        bad(token, "this is longer than 1023 characters. Shorten it.");
}

/* Without an end it is taken for a single word, so that a brace behind it still counts. */
static void read_text(struct lexer *lexer, struct token *token)
{
    size_t length = 0;
    token->kind = TOKEN_TEXT;
    step(lexer);
    const struct lexer start = *lexer;
    while (lexer->at < lexer->end && *lexer->at != '"' && *lexer->at != '\n') {
        char c = step(lexer);
        if (c == '\\' && lexer->at < lexer->end && (*lexer->at == '"' || *lexer->at == '\\'))
            c = step(lexer);
        else if (is_control(c) && c != '\t')
            bad(token, "this text holds a control character. Take it out.");
        add(token, &length, c);
    }
    token->text[length] = 0;
    if (lexer->at < lexer->end && *lexer->at == '"') {
        step(lexer);
        return;
    }
    bad(token, "this text has no end on its line. Put a \" behind it.");
    *lexer = start;
    while (lexer->at < lexer->end && !ends_word(*lexer->at))
        step(lexer);
}

static void read_word(struct lexer *lexer, struct token *token)
{
    size_t length = 0;
    token->kind = TOKEN_WORD;
    do {
        char c = step(lexer);
        if ((unsigned char)c > 126)
            bad(token, "only ASCII characters can stand here. Put other text in double quotes.");
        add(token, &length, c);
    } while (lexer->at < lexer->end && !ends_word(*lexer->at));
    token->text[length] = 0;
}

void lexer_next(struct lexer *lexer, struct token *token)
{
    skip(lexer);
    token->place = lexer->place;
    token->problem = NULL;
    token->text[0] = 0;
    if (lexer->at == lexer->end) {
        token->kind = TOKEN_END;
    } else if (*lexer->at == '{' || *lexer->at == '}') {
        token->text[0] = step(lexer);
        token->text[1] = 0;
        token->kind = token->text[0] == '{' ? TOKEN_OPEN : TOKEN_CLOSE;
    } else if (*lexer->at == '"') {
        read_text(lexer, token);
    } else if (is_control(*lexer->at)) {
        step(lexer);
        bad(token, "this is a control character: a partition file is plain text. Take it out.");
    } else {
        read_word(lexer, token);
    }
}
