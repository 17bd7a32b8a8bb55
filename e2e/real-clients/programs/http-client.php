<?php
// `http-client.php curl|stream URL`: prints the status, x-reflected, then the body as it arrives.
[, $library, $url] = $argv;
$authorization = 'Authorization: Bearer ' . getenv('API_TOKEN');
if ($library === 'curl') {
    $handle = curl_init($url);
    curl_setopt_array($handle, [
        CURLOPT_HTTPHEADER => [$authorization],
        CURLOPT_HTTP_VERSION => CURL_HTTP_VERSION_2TLS,
        CURLOPT_HEADERFUNCTION => function ($handle, $line) {
            if (preg_match('#^HTTP/|^x-reflected:#i', $line)) echo $line;
            return strlen($line);
        },
        CURLOPT_WRITEFUNCTION => function ($handle, $chunk) {
            echo $chunk;
            return strlen($chunk);
        },
    ]);
    if (curl_exec($handle) === false) {
        fwrite(STDERR, curl_error($handle) . "\n");
        exit(1);
    }
} else {
    $stream = fopen($url, 'r', false, stream_context_create(['http' => ['header' => $authorization]]));
    if ($stream === false) exit(1);
    foreach (stream_get_meta_data($stream)['wrapper_data'] as $line) echo $line, "\n";
    while (($line = fgets($stream)) !== false) echo $line;
}
