<?php // Weak on purpose: the name may leave the folder.
header('Content-Type: text/plain');
@readfile('/var/www/files/' . ($_GET['file'] ?? ''));
