<?php // Weak on purpose: the parameter becomes part of the SQL statement.
$site = new SQLite3('/var/www/data/site.db');
$rows = @$site->query('SELECT id, title, body FROM news WHERE id = ' . ($_GET['id'] ?? '1'));
if (!$rows) {
    http_response_code(500);
    exit($site->lastErrorMsg());
}
while ($row = $rows->fetchArray(SQLITE3_ASSOC)) {
    echo '<h2>', $row['title'], '</h2><p>', $row['body'], "</p>\n";
}
