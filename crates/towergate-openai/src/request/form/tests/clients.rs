//! What clients send. Those marked with a version were captured; the others are as their sources write them.

/// The client, its content type, and its form; the model is `whisper-1`, the file `abc`.
pub(super) const FORMS: &[(&str, &str, &str)] = &[
    (
        "curl 7.88 -F",
        "multipart/form-data; boundary=------------------------739340cc5c669cd8",
        "--------------------------739340cc5c669cd8\r\nContent-Disposition: form-data; name=\"file\"; \
         filename=\"audio.wav\"\r\nContent-Type: application/octet-stream\r\n\r\nabc\r\n\
         --------------------------739340cc5c669cd8\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\n\
         whisper-1\r\n--------------------------739340cc5c669cd8--\r\n",
    ),
    (
        "curl 7.88 -F with a type",
        "multipart/form-data; boundary=------------------------ba0d1af1b33944e3",
        "--------------------------ba0d1af1b33944e3\r\nContent-Disposition: form-data; name=\"model\"\r\n\
         Content-Type: text/plain\r\n\r\nwhisper-1\r\n--------------------------ba0d1af1b33944e3--\r\n",
    ),
    (
        "openai-python 3.57 over httpx",
        "multipart/form-data; boundary=20648343b86f9636d77961748f147868",
        "--20648343b86f9636d77961748f147868\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nwhisper-1\r\n\
         --20648343b86f9636d77961748f147868\r\nContent-Disposition: form-data; name=\"prompt\"\r\n\r\nGr\u{fc}\u{df}e\r\n\
         --20648343b86f9636d77961748f147868\r\n\
         Content-Disposition: form-data; name=\"timestamp_granularities[]\"\r\n\r\nword\r\n\
         --20648343b86f9636d77961748f147868\r\nContent-Disposition: form-data; name=\"file\"; \
         filename=\"k\u{e4}se %22x%22.wav\"\r\nContent-Type: audio/wav\r\n\r\nabc\r\n\
         --20648343b86f9636d77961748f147868--\r\n",
    ),
    (
        "openai-node, a stream",
        "multipart/form-data; boundary=openai-vmgjhnbpy88",
        "--openai-vmgjhnbpy88\r\nContent-Disposition: form-data; name=\"file\"; filename=\"audio.wav\"\r\n\
         Content-Type: application/octet-stream\r\n\r\nabc\r\n--openai-vmgjhnbpy88\r\n\
         Content-Disposition: form-data; name=\"model\"\r\n\r\nwhisper-1\r\n--openai-vmgjhnbpy88--\r\n",
    ),
    (
        "openai-node over undici, Node 20",
        "multipart/form-data; boundary=----formdata-undici-021812866126",
        "------formdata-undici-021812866126\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nwhisper-1\r\n\
         ------formdata-undici-021812866126\r\nContent-Disposition: form-data; name=\"file\"; \
         filename=\"a\\b.wav\"\r\nContent-Type: application/octet-stream\r\n\r\nabc\r\n\
         ------formdata-undici-021812866126--",
    ),
    (
        "form-data of npm",
        "multipart/form-data; boundary=--------------------------cdb7c259b37204e588a6e5c6",
        "----------------------------cdb7c259b37204e588a6e5c6\r\nContent-Disposition: form-data; name=\"file\"; \
         filename=\"a%22b.wav\"\r\nContent-Type: audio/wav\r\n\r\nabc\r\n\
         ----------------------------cdb7c259b37204e588a6e5c6\r\n\
         Content-Disposition: form-data; name=\"model\"\r\n\r\nwhisper-1\r\n\
         ----------------------------cdb7c259b37204e588a6e5c6--\r\n",
    ),
    (
        "requests over urllib3",
        "multipart/form-data; boundary=d165f6877ea1c718ff75c6e3c20f416c",
        "--d165f6877ea1c718ff75c6e3c20f416c\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nwhisper-1\r\n\
         --d165f6877ea1c718ff75c6e3c20f416c\r\nContent-Disposition: form-data; name=\"file\"; \
         filename=\"k\u{e4}se.wav\"\r\nContent-Type: audio/wav\r\n\r\nabc\r\n--d165f6877ea1c718ff75c6e3c20f416c--\r\n",
    ),
    (
        "requests over urllib3 1",
        "multipart/form-data; boundary=d165f6877ea1c718ff75c6e3c20f416c",
        "--d165f6877ea1c718ff75c6e3c20f416c\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nwhisper-1\r\n\
         --d165f6877ea1c718ff75c6e3c20f416c\r\nContent-Disposition: form-data; name=\"file\"; \
         filename*=utf-8''k%C3%A4se.wav\r\n\r\nabc\r\n--d165f6877ea1c718ff75c6e3c20f416c--\r\n",
    ),
    (
        "aiohttp 3, names not quoted",
        "multipart/form-data; boundary=90e3bf03c4094633a9c884660e53c7d4",
        "--90e3bf03c4094633a9c884660e53c7d4\r\nContent-Type: audio/wav\r\nContent-Disposition: form-data; \
         name=\"file\"; filename=\"k\u{e4}se \\\"1\\\".wav\"\r\n\r\nabc\r\n--90e3bf03c4094633a9c884660e53c7d4\r\n\
         Content-Type: text/plain; charset=utf-8\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nwhisper-1\r\n\
         --90e3bf03c4094633a9c884660e53c7d4--\r\n",
    ),
    (
        "Go 1.19 mime/multipart",
        "multipart/form-data; boundary=a8d0b4429dfbaf7ac0b0a95a82037f09d49f520c865add190d25fd4ff9e9",
        "--a8d0b4429dfbaf7ac0b0a95a82037f09d49f520c865add190d25fd4ff9e9\r\nContent-Disposition: form-data; \
         name=\"file\"; filename=\"a\\\"b\\\\c.wav\"\r\nContent-Type: application/octet-stream\r\n\r\nabc\r\n\
         --a8d0b4429dfbaf7ac0b0a95a82037f09d49f520c865add190d25fd4ff9e9\r\n\
         Content-Disposition: form-data; name=\"model\"\r\n\r\nwhisper-1\r\n\
         --a8d0b4429dfbaf7ac0b0a95a82037f09d49f520c865add190d25fd4ff9e9--\r\n",
    ),
    (
        "Ruby 3.1 net/http",
        "multipart/form-data; boundary=Ty-X2I7stPgIW3VzfomY6mOPOe7qtXb3_oc2oxCSGmDQkbMtWiWZsg",
        "--Ty-X2I7stPgIW3VzfomY6mOPOe7qtXb3_oc2oxCSGmDQkbMtWiWZsg\r\n\
         Content-Disposition: form-data; name=\"model\"\r\n\r\nwhisper-1\r\n\
         --Ty-X2I7stPgIW3VzfomY6mOPOe7qtXb3_oc2oxCSGmDQkbMtWiWZsg\r\nContent-Disposition: form-data; name=\"file\"; \
         filename=\"audio.wav\"\r\nContent-Type: application/octet-stream\r\n\r\nabc\r\n\
         --Ty-X2I7stPgIW3VzfomY6mOPOe7qtXb3_oc2oxCSGmDQkbMtWiWZsg--\r\n",
    ),
    (
        ".NET MultipartFormDataContent",
        "multipart/form-data; boundary=\"7c1a3b52-6a0e-4cf7-9d6e-0a5b7b1ce011\"",
        "--7c1a3b52-6a0e-4cf7-9d6e-0a5b7b1ce011\r\nContent-Type: text/plain; charset=utf-8\r\n\
         Content-Disposition: form-data; name=model\r\n\r\nwhisper-1\r\n--7c1a3b52-6a0e-4cf7-9d6e-0a5b7b1ce011\r\n\
         Content-Disposition: form-data; name=file; filename=audio.wav; filename*=utf-8''audio.wav\r\n\r\nabc\r\n\
         --7c1a3b52-6a0e-4cf7-9d6e-0a5b7b1ce011--\r\n",
    ),
    (
        "OkHttp 4",
        "multipart/form-data; boundary=3c9e8d6e-8a5c-4e8e-8d6a-0b6f5a3f1a11",
        "--3c9e8d6e-8a5c-4e8e-8d6a-0b6f5a3f1a11\r\nContent-Disposition: form-data; name=\"model\"\r\n\
         Content-Length: 9\r\n\r\nwhisper-1\r\n--3c9e8d6e-8a5c-4e8e-8d6a-0b6f5a3f1a11\r\n\
         Content-Disposition: form-data; name=\"file\"; filename=\"audio.wav\"\r\nContent-Type: audio/wav\r\n\
         Content-Length: 3\r\n\r\nabc\r\n--3c9e8d6e-8a5c-4e8e-8d6a-0b6f5a3f1a11--\r\n",
    ),
    (
        "Apache HttpClient 4",
        "multipart/form-data; boundary=kx7Hs2-_wQ; charset=ISO-8859-1",
        "--kx7Hs2-_wQ\r\nContent-Disposition: form-data; name=\"model\"\r\nContent-Type: text/plain; \
         charset=ISO-8859-1\r\nContent-Transfer-Encoding: 8bit\r\n\r\nwhisper-1\r\n--kx7Hs2-_wQ\r\n\
         Content-Disposition: form-data; name=\"file\"; filename=\"audio.wav\"\r\nContent-Type: audio/wav\r\n\
         Content-Transfer-Encoding: binary\r\n\r\nabc\r\n--kx7Hs2-_wQ--\r\n",
    ),
    (
        "a browser",
        "multipart/form-data; boundary=----WebKitFormBoundaryx8jO2oVc6SWP3Sad",
        "------WebKitFormBoundaryx8jO2oVc6SWP3Sad\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\n\
         whisper-1\r\n------WebKitFormBoundaryx8jO2oVc6SWP3Sad\r\nContent-Disposition: form-data; name=\"file\"; \
         filename=\"audio; 1.wav\"\r\nContent-Type: audio/wav\r\n\r\nabc\r\n\
         ------WebKitFormBoundaryx8jO2oVc6SWP3Sad--\r\n",
    ),
];
