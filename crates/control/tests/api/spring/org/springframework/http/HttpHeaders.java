package org.springframework.http;

import java.util.TreeMap;

public class HttpHeaders {
    public final TreeMap<String, String> all = new TreeMap<>();

    public void set(String name, String value) {
        all.put(name, value);
    }
}
