package feign;

import java.util.TreeMap;

public class RequestTemplate {
    public final TreeMap<String, String> all = new TreeMap<>();

    public RequestTemplate header(String name, String... values) {
        all.put(name, String.join(",", values));
        return this;
    }
}
