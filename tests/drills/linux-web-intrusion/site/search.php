<?php // Sound: the text is bound, the output escaped.
$site = new SQLite3('/var/www/data/site.db');
$query = $site->prepare('SELECT id, title FROM news WHERE title LIKE :text');
$query->bindValue(':text', '%' . ($_GET['q'] ?? '') . '%');
$rows = $query->execute();
while ($row = $rows->fetchArray(SQLITE3_ASSOC)) {
    echo '<a href="/news.php?id=', $row['id'], '">', htmlspecialchars($row['title']), "</a>\n";
}
