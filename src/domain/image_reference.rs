//! References of container images, as container runtimes read them: `[registry[:port]/]path[:tag][@digest]`
//! (distribution/reference).

/// What is wrong with the reference; `None` if it is valid.
pub fn fault(image: &str) -> Option<&'static str> {
    if image.is_empty() {
        return Some("is empty");
    }
    let (rest, digest) = match image.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (image, None),
    };
    if digest.is_some_and(|digest| !is_digest(digest)) {
        return Some("has a digest that is none, such as sha256:<64 hexadecimal digits>");
    }
    let (name, tag) = match rest.rsplit_once(':') {
        // A port precedes a path.
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (rest, None),
    };
    if tag.is_some_and(|tag| !is_tag(tag)) {
        return Some("has a tag that is none: up to 128 letters, digits, '_', '.' and '-'");
    }
    let path = match name.split_once('/') {
        Some((registry, path)) if registry.contains(['.', ':']) || registry == "localhost" => {
            if !is_registry(registry) {
                return Some("has a registry that is no host");
            }
            path
        }
        _ => name,
    };
    let is_valid = name.len() <= 255 && path.split('/').all(is_component);
    (!is_valid).then_some("has a path that is none: lower-case letters and digits, separated by '.', '_', '-' and '/'")
}

fn is_digest(digest: &str) -> bool {
    let Some((algorithm, value)) = digest.split_once(':') else { return false };
    let is_hexadecimal = value.chars().all(|letter| letter.is_ascii_hexdigit());
    let is_long_enough = if algorithm == "sha256" { value.len() == 64 } else { value.len() >= 32 };
    !algorithm.is_empty() && is_hexadecimal && is_long_enough
}

fn is_tag(tag: &str) -> bool {
    let is_word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    (1..=128).contains(&tag.len())
        && tag.starts_with(is_word)
        && tag.chars().all(|letter| is_word(letter) || letter == '.' || letter == '-')
}

fn is_registry(registry: &str) -> bool {
    let (host, port) = match registry.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (registry, None),
    };
    let is_of_host = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '-' | ':' | '[' | ']');
    !host.is_empty() && host.chars().all(is_of_host) && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

fn is_component(component: &str) -> bool {
    let is_letter = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit();
    component.starts_with(is_letter)
        && component.ends_with(is_letter)
        && component.chars().all(|letter| is_letter(letter) || matches!(letter, '.' | '_' | '-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runtimes_can_read_valid_references_only() {
        let digest = format!("a/b@sha256:{}", "0".repeat(64));
        for image in [
            "nginx",
            "nginx:1.27",
            "registry.k8s.io/pause:3.10",
            "localhost/x",
            "localhost:5000/a/b_c:V1",
            "[::1]:5000/x",
            &digest,
        ] {
            assert_eq!(fault(image), None, "{image}");
        }
        for (image, wanted) in [
            ("", "empty"),
            ("Nginx", "path"),
            ("a//b", "path"),
            ("my image", "path"),
            ("https://r.example/x", "registry"),
            ("nginx:", "tag"),
            ("nginx:-x", "tag"),
            ("nginx@sha256:12", "digest"),
            ("r.example:port/x", "registry"),
        ] {
            let fault = fault(image);
            assert!(fault.is_some_and(|fault| fault.contains(wanted)), "{image}: {fault:?}");
        }
    }
}
