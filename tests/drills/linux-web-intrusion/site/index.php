<?php // The drill's portal. The pages beside this one are weak on purpose: never serve them outside a drill. ?>
<!doctype html><html lang="vi"><meta charset="utf-8"><title>Cổng thông tin (diễn tập)</title>
<link rel="stylesheet" href="/style.css">
<h1>Cổng thông tin (diễn tập)</h1>
<p><a href="/news.php?id=1">Tin tức</a> <a href="/search.php?q=thu+tuc">Tìm kiếm</a> <a href="/download.php?file=huong-dan.txt">Tải về</a></p>
