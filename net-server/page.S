/* The page as a browser gets it. Nothing but its own facts may be loaded by it. */
.section .rodata
.global page_begin, page_end
page_begin:
    .ascii "HTTP/1.1 200 OK\r\nServer: Septum\r\nContent-Type: text/html; charset=utf-8\r\n"
    .ascii "Content-Security-Policy: default-src 'none'; connect-src 'self'; img-src data:; "
    .ascii "script-src 'unsafe-inline'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
    .ascii "frame-ancestors 'none'\r\n"
    .ascii "X-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\nConnection: close\r\n\r\n"
    .incbin "net-server/page.html"
page_end:
.section .note.GNU-stack, "", @progbits
