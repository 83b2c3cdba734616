#!/bin/sh
# Notes the visit in the database of the partition `db` and shows the last ones.
ask() { echo "$1" | nc -w 5 10.0.0.3 5432; }
who=$(echo "${REMOTE_ADDR:-somebody}" | tr -cd '0-9a-fA-F:.')
ask "insert into visits (who) values ('$who');" >/dev/null
rows=$(ask 'select * from visits order by number desc limit 10;')
printf 'Content-Type: text/html; charset=utf-8\r\n\r\n'
cat <<PAGE
<!doctype html>
<title>web and db</title>
<h1>Two partitions made this page</h1>
<p>The partition <b>$(hostname)</b> serves it; the visits are in the database of the partition <b>db</b>.
<pre>
$rows
</pre>
PAGE
