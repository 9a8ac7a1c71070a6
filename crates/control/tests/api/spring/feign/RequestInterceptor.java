package feign;

public interface RequestInterceptor {
    void apply(RequestTemplate template);
}
