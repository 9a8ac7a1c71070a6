package org.springframework.core.env;

/** As much of Spring's class as a source of properties needs. */
public abstract class PropertySource<T> {
    protected final String name;
    protected final T source;

    public PropertySource(String name, T source) {
        this.name = name;
        this.source = source;
    }

    public abstract Object getProperty(String name);
}
