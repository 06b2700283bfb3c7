<?php // Weak on purpose: the parameter becomes part of a shell command.
header('Content-Type: text/plain');
system('ping -c 1 -W 1 ' . ($_GET['host'] ?? '127.0.0.1') . ' 2>&1');
