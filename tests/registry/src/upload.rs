//! Blobs that are sent to the registry (distribution specification, "Pushing blobs").

use std::sync::atomic::Ordering;

use minidock_oci::Digest;

use crate::Shared;
use crate::http::{Answer, Request};

fn query<'r>(request: &'r Request, name: &str) -> Option<&'r str> {
    let (_, query) = request.path.split_once('?')?;
    let mut pairs = query.split('&');
    pairs.find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

/// Keeps what has come of an upload.
pub fn append(request: &Request, bytes: &[u8], shared: &Shared) {
    let mut uploads = shared.uploads.lock().unwrap();
    let id = id(request);
    if let Some(upload) = uploads.get_mut(&id) {
        upload.extend_from_slice(bytes);
    }
}

fn id(request: &Request) -> String {
    let path = request.path.split('?').next().unwrap();
    path.rsplit('/').next().unwrap().to_owned()
}

/// Answers a request below `/v2/REPOSITORY/blobs/uploads/`.
pub fn answer(request: &Request, repository: &str, shared: &Shared) -> Answer {
    if request.body.len() > shared.max_body.load(Ordering::SeqCst) {
        return Answer::error(413, "SIZE_INVALID");
    }
    let mut uploads = shared.uploads.lock().unwrap();
    if request.method == "POST" {
        if let Some(digest) = query(request, "mount")
            && shared.content.lock().unwrap().blobs.contains_key(digest)
        {
            return Answer::new(201, "").header("Location", format!("/v2/{repository}/blobs/x"));
        }
        let begun = shared.uploads_begun.fetch_add(1, Ordering::SeqCst);
        let id = format!("upload-{begun}");
        uploads.insert(id.clone(), Vec::new());
        return Answer::new(202, "")
            .header(
                "Location",
                format!("/v2/{repository}/blobs/uploads/{id}?state=x%3D"),
            )
            .header("Range", "0-0");
    }
    let id = id(request);
    let Some(upload) = uploads.get_mut(&id) else {
        return Answer::error(404, "BLOB_UPLOAD_UNKNOWN");
    };
    if let Some(range) = &request.content_range
        && !range.starts_with(&format!("{}-", upload.len()))
    {
        return Answer::error(416, "RANGE_INVALID");
    }
    upload.extend_from_slice(&request.body);
    let answer = match request.method.as_str() {
        "PUT" => {
            let wanted = query(request, "digest").unwrap().replace("%3A", ":");
            let bytes = uploads.remove(&id).unwrap();
            if Digest::sha256(&bytes).to_string() != wanted {
                return Answer::error(400, "DIGEST_INVALID");
            }
            shared.content.lock().unwrap().blobs.insert(wanted, bytes);
            return Answer::new(201, "").header("Location", "/v2/x");
        }
        "PATCH" => Answer::new(202, ""),
        _ => Answer::new(204, ""),
    };
    let length = uploads[&id].len();
    answer
        .header(
            "Location",
            format!("/v2/{repository}/blobs/uploads/{id}?state=y"),
        )
        .header("Range", format!("0-{}", length.saturating_sub(1)))
}
