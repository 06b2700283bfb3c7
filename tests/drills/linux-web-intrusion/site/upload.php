<?php // Weak on purpose: any file is taken under the name it came with.
if (isset($_FILES['file'])) {
    move_uploaded_file($_FILES['file']['tmp_name'], '/var/www/html/uploads/' . basename($_FILES['file']['name']));
    exit('ok');
}
